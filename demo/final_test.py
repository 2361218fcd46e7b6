"""Run the final test: every arm and every other method on the same test texts.

The true class is that of the mean rating. No result of the test is used for training or decisions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from core.model_folder import ModelFolder
from core.prompts import Chat
from core.settings import ModelSettings
from demo.dataset_split import INSTRUCTION
from demo.ratings import LABELS, Rated, sign
from eval.arm_definitions import Arm, Item, prompted
from eval.baselines import rag_arm, tfidf_probabilities
from eval.engine_queries import EngineContext, QueryRunner
from eval.kpis import classification
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, user_numbers
from eval.kpis.comparison import compare_labels
from eval.kpis.evidence import ArmScores, Evidence
from eval.measure.labels import Labels, score_labels
from feedback.snapshot import Snapshot
from serve.engines.control_client import VllmClient

VADER_CUT = 0.05
SHOWN = ("accuracy", "macro_f1", "weighted_f1", "roc_auc")


@dataclass(frozen=True, slots=True)
class FinalTest:
    """What the final test found, ready for the report."""

    arms: dict[str, Any]
    vader: dict[str, float]
    human_raters: dict[str, float]
    tfidf_logreg: dict[str, float]


def items_of(texts: Sequence[Rated]) -> list[Item]:
    """The texts as questions of the app, truth being the class of the mean rating."""
    return [
        Item(text.id, text.document, Chat((("system", INSTRUCTION), ("user", text.text))), LABELS.index(text.truth))
        for text in texts
    ]


def run_final_test(
    client: VllmClient,
    *,
    base: ModelFolder,
    champion: str,
    candidate: str | None,
    base_prompt: str,
    texts: Sequence[Rated],
    snapshot: Snapshot,
    settings: ModelSettings,
    latency_items: int,
    progress: Callable[[int, int], None],
) -> FinalTest:
    """Runs the test. The RAG arm and TF-IDF learn from the snapshot's train rows, as the adapter did."""
    items = items_of(texts)
    arms = [prompted(base.name, base_prompt), rag_arm(base, snapshot, settings), Arm("champion", champion)]
    if candidate:
        arms.append(Arm("candidate", candidate))
    engine = EngineContext(QueryRunner(client, concurrency=settings.evaluation.concurrency), base.name, progress)
    found = score_labels(engine, arms, items, Labels(engine, LABELS), latency_items=latency_items)
    truth = np.array([item.truth for item in items])
    users = user_numbers([item.user for item in items])
    plan = BootstrapPlan(0.05, settings.evaluation.bootstrap, settings.retrain.seed)
    evidence = compare_labels(truth, users, found, plan)
    return FinalTest(
        arms={name: _arm(evidence, name, scores) for name, scores in found.items()},
        vader=_labelled(truth, _vader(texts)),
        human_raters=_humans(texts),
        tfidf_logreg=_classic(truth, tfidf_probabilities(snapshot, items, settings)),
    )


def _arm(evidence: Evidence, name: str, scores: ArmScores) -> dict[str, Any]:
    measures = evidence.arms[name]
    latency = {f"latency_{p}_ms": round(measures[f"{p}_latency_ms"].value, 1) for p in ("p50", "p95")}
    return {
        **{kpi: round(measures[kpi].value, 4) for kpi in SHOWN},
        **latency,
        "prompt_tokens": round(float(scores.prompt_tokens.mean()), 1),
        "invalid_mass": round(measures["invalid_mass"].value, 4),
        "intervals": {kpi: [round(measures[kpi].low, 4), round(measures[kpi].high, 4)] for kpi in SHOWN},
        "confusion": evidence.confusion[name],
    }


def _classic(truth: Ints, probabilities: Floats) -> dict[str, float]:
    return {kpi: round(classification.POINT[kpi](truth, probabilities), 4) for kpi in SHOWN}


def _vader(texts: Sequence[Rated]) -> list[int]:
    analyzer = SentimentIntensityAnalyzer()
    compounds = [analyzer.polarity_scores(text.text)["compound"] for text in texts]
    return [1 + (c >= VADER_CUT) - (c <= -VADER_CUT) for c in compounds]


def _labelled(truth: Sequence[int] | Ints, answers: Sequence[int]) -> dict[str, float]:
    """Accuracy and F1 of plain answers, without probabilities."""
    f1 = {
        f"{average}_f1": round(float(metrics.f1_score(truth, answers, average=average)), 4)
        for average in ("macro", "weighted")
    }
    return {"accuracy": round(float(metrics.accuracy_score(truth, answers)), 4), **f1}


def _humans(texts: Sequence[Rated]) -> dict[str, float]:
    """One rater's sign against the class of all raters' mean, averaged over raters."""
    most = max(len(text.ratings) for text in texts)
    scores = []
    for rater in range(most):
        rated = [text for text in texts if len(text.ratings) > rater]
        truth = [LABELS.index(text.truth) for text in rated]
        answers = [LABELS.index(sign(text.ratings[rater])) for text in rated]
        scores.append((len(rated), _labelled(truth, answers)))
    total = sum(n for n, _ in scores)
    return {kpi: round(sum(n * found[kpi] for n, found in scores) / total, 4) for kpi in scores[0][1]}
