"""Baselines: the base model with its best prompt, retrieval, and TF-IDF with logistic regression."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.model_folder import ModelFolder
from core.settings import GENERATE_PRIMARY, ModelSettings
from eval.arm_definitions import Arm, Item, prompted, retrieving
from eval.context import bootstrap_plan
from eval.engine_queries import EngineContext, ignore_progress
from eval.kpis import classification
from eval.kpis.arrays import Floats
from eval.kpis.evidence import Measure
from eval.measure.rows import items_of, measure_rows
from eval.retrieval_corpus import gather
from feedback.snapshot import Row, Snapshot
from feedback.templates import Templates
from serve.retrieval.retriever import Retriever

DEV_ITEMS = 200
PROMPT_RESAMPLES = 200


def rag_arm(base: ModelFolder, snapshot: Snapshot, settings: ModelSettings, context_tokens: int | None = None) -> Arm:
    """The base model with the nearest answered examples of the train bucket, or the nearest passages of documents."""
    retriever = Retriever(gather(snapshot, settings, base.path, context_tokens).retrieval)
    return retrieving("rag", base.name, retriever, settings.evaluation.max_tokens)


def best_prompt(engine: EngineContext, snapshot: Snapshot, settings: ModelSettings) -> str:
    """The base prompt with the best primary KPI on the dev rows. An empty text means the app's own prompt.

    If the answers do not have the primary KPI, token F1 replaces it.
    """
    choices = ["", *settings.baselines.prompts]
    rows = snapshot.of("dev")[:DEV_ITEMS]
    if len(choices) == 1 or not rows:
        return ""
    arms = [
        Arm(str(number), engine.base_name, prompted(engine.base_name, text).rewrite)
        for number, text in enumerate(choices)
    ]
    plan = replace(bootstrap_plan(settings), resamples=PROMPT_RESAMPLES)
    evidence, _ = measure_rows(replace(engine, progress=ignore_progress), arms, rows, settings, plan)
    primary = settings.promotion.primary.kpi
    kpi = primary if primary in evidence.arms[arms[0].name] else GENERATE_PRIMARY
    return choices[int(np.nanargmax([evidence.arms[arm.name][kpi].value for arm in arms]))]


def tfidf_kpis(snapshot: Snapshot, rows: Sequence[Row], settings: ModelSettings) -> dict[str, Measure]:
    """The KPIs of TF-IDF with logistic regression on the rows, without bounds. Empty for a model that generates."""
    if settings.task == "generate":
        return {}
    items = items_of(rows, settings)
    truth = np.array([item.truth for item in items])
    probabilities = tfidf_probabilities(snapshot, items, settings)
    return {
        kpi: Measure(function(truth, probabilities), math.nan, math.nan)
        for kpi, function in classification.POINT.items()
    }


def tfidf_probabilities(snapshot: Snapshot, items: Sequence[Item], settings: ModelSettings) -> Floats:
    """Probabilities (n, labels) of TF-IDF with logistic regression, trained on the train bucket.

    It reads whole prompts without what most of them share.
    """
    # Imported here, so that a process that does not evaluate starts without them.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10, max_iter=2000, class_weight="balanced", random_state=settings.retrain.seed),
    )
    rows = snapshot.of("train")
    train = items_of(rows, settings)
    templates = Templates([item.prompt for item in train])
    # The rows weigh as much as in the adapter's training.
    weights = {"logisticregression__sample_weight": [row.weight for row in rows]}
    pipeline.fit(templates.without([item.prompt for item in train]), [item.truth for item in train], **weights)
    probabilities = np.zeros((len(items), len(settings.labels)))
    probabilities[:, pipeline.classes_] = pipeline.predict_proba(templates.without([item.prompt for item in items]))
    return probabilities
