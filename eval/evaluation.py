"""Evaluation: four arms answer the same held-out items, beside TF-IDF with logistic regression.

It owns which rows each arm may learn from and which holdout is asked; the verdict is the gate's.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import NotReady
from core.prompts import subject
from core.records import Version
from core.settings import ModelSettings
from core.store import Store
from eval import classic, kpis
from eval.arms import Arm, Item, Retriever, prompted
from eval.evidence import Evidence, Measure, measure, user_numbers
from eval.offline import LAST_USE, spent_level
from eval.scoring import Labels, Progress, score
from feedback.snapshot import Row, Snapshot
from feedback.split import HOLDOUTS
from serve.vllm import VllmClient

DEV_ITEMS = 200


@dataclass(frozen=True, slots=True)
class Opponents:
    """The arms that a candidate stands against, with the base prompt that won on dev."""

    arms: tuple[Arm, ...]
    base_prompt: str


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation found; `classic` holds TF-IDF with logistic regression on the same items."""

    evidence: Evidence
    classic: dict[str, Measure]
    base_prompt: str


def items_of(rows: Sequence[Row], settings: ModelSettings) -> list[Item]:
    """Rows as items, truth as the label's number."""
    return [Item(row.interaction_id, row.user, row.prompt, settings.labels.index(row.label)) for row in rows]


def choose_holdout(store: Store, model: str, run_id: str) -> tuple[str, int]:
    """The holdout bucket to ask and its use, counted before it is asked so that a crash spends it too."""
    with store.transaction() as transaction:
        used = {row["bucket"]: row["uses"] for row in transaction.rows("holdout_uses", model=model)}
        open_buckets = [bucket for bucket in HOLDOUTS if used.get(bucket, 0) < LAST_USE]
        if not open_buckets:
            raise NotReady(
                f"Every holdout bucket of {model} was asked {LAST_USE} times.",
                hint="New users bring new holdout rows; until then a promotion could not be proved.",
            )
        use = used.get(open_buckets[0], 0) + 1
        transaction.run("holdout_use_add", model=model, bucket=open_buckets[0], run_id=run_id, use=use)
    return open_buckets[0], use


def opponents(client: VllmClient, base_name: str, champion: Version, snapshot: Snapshot, labels: Labels,
              settings: ModelSettings) -> Opponents:  # fmt: skip
    """Base with its best prompt, RAG over the train bucket, and the champion."""
    instruction = _best_prompt(client, base_name, snapshot, labels, settings)
    arms = (
        prompted(base_name, instruction),
        rag(base_name, snapshot, settings),
        Arm("champion", champion.engine_name),
    )
    return Opponents(arms, instruction)


def rag(base_name: str, snapshot: Snapshot, settings: ModelSettings) -> Arm:
    """Base with the nearest answered examples of the snapshot's train bucket."""
    baselines = settings.baselines
    retriever = Retriever(
        [(row.prompt, row.label) for row in snapshot.of("train")],
        k=baselines.rag_examples,
        budget_tokens=baselines.rag_budget_tokens,
    )
    return Arm("rag", base_name, retriever.rewrite)


def _best_prompt(client: VllmClient, base_name: str, snapshot: Snapshot, labels: Labels,
                 settings: ModelSettings) -> str:  # fmt: skip
    """The base prompt with the best primary KPI on dev; an empty text means the app's own."""
    choices = ["", *settings.baselines.prompts]
    items = items_of(snapshot.of("dev"), settings)[:DEV_ITEMS]
    if len(choices) == 1 or not items:
        return ""
    arms = [Arm(str(place), base_name, prompted(base_name, text).rewrite) for place, text in enumerate(choices)]
    found = score(client, arms, items, labels, concurrency=settings.evaluation.concurrency)
    truth = np.array([item.truth for item in items])
    kpi = kpis.POINT[settings.promotion.primary.kpi]
    values = [kpi(truth, found[str(place)].probabilities) for place in range(len(choices))]
    return choices[int(np.nanargmax(values))]


def evaluate(store: Store, client: VllmClient, *, base_name: str, model: str, settings: ModelSettings,
             snapshot: Snapshot, champion: Version, candidate: Version, run_id: str,
             progress: Progress = lambda done, total: None) -> Result:  # fmt: skip
    """Judges nothing: scores all arms on one holdout bucket and returns the evidence."""
    labels = Labels(client, base_name, settings.labels)
    against = opponents(client, base_name, champion, snapshot, labels, settings)
    holdout, use = choose_holdout(store, model, run_id)
    rows = snapshot.of(holdout)
    if not rows:
        raise NotReady(f"The holdout bucket {holdout} of {model} has no labels yet.",
                       hint="Wait for labels of more users, or widen the split.")  # fmt: skip
    items = items_of(rows, settings)
    arms = (*against.arms, Arm("candidate", candidate.engine_name))
    found = score(client, arms, items, labels, concurrency=settings.evaluation.concurrency,
                  latency_items=settings.evaluation.latency_items, progress=progress)  # fmt: skip
    truth = np.array([item.truth for item in items])
    users = user_numbers([item.user for item in items])
    promotion = settings.promotion
    evidence = measure(
        truth, users, found, primary=promotion.primary.kpi,
        primary_level=spent_level(promotion.alpha, use), level=promotion.alpha,
        resamples=settings.evaluation.bootstrap, seed=settings.retrain.seed, holdout=holdout, holdout_use=use,
    )  # fmt: skip
    result = Result(evidence, _classic(snapshot, items, settings), against.base_prompt)
    _keep(store, run_id, model, f"holdout {holdout}", result, champion.version, candidate.version)
    return result


def _classic(snapshot: Snapshot, items: Sequence[Item], settings: ModelSettings) -> dict[str, Measure]:
    truth = np.array([item.truth for item in items])
    scores = classic_scores(snapshot, items, settings)
    return {name: Measure(kpi(truth, scores), math.nan, math.nan) for name, kpi in kpis.POINT.items()}


def classic_scores(snapshot: Snapshot, items: Sequence[Item], settings: ModelSettings) -> kpis.Floats:
    """TF-IDF with logistic regression, learnt from the train bucket: probabilities (n, labels)."""
    train = [(subject(item.prompt), item.truth) for item in items_of(snapshot.of("train"), settings)]
    texts = [subject(item.prompt) for item in items]
    return classic.probabilities(train, texts, len(settings.labels), settings.retrain.seed)


def _keep(store: Store, run_id: str, model: str, suite: str, result: Result, champion: int, candidate: int) -> None:
    versions = {"base": 0, "rag": 0, "champion": champion, "candidate": candidate, "tfidf_logreg": None}
    arms = result.evidence.arms | {"tfidf_logreg": result.classic}
    rows = [
        {"run_id": run_id, "model": model, "suite": suite, "arm": arm, "version": versions[arm], "kpi": kpi,
         "value": m.value, "low": m.low, "high": m.high, "n": result.evidence.n, "users": result.evidence.users}
        for arm, measures in arms.items()
        for kpi, m in measures.items()
    ]  # fmt: skip
    with store.transaction() as transaction:
        transaction.run_many("evaluation_add", rows)


def plain_evidence(result: Result) -> dict[str, object]:
    """The evidence as JSON for the ledger, NaN as null."""
    evidence = result.evidence
    return json.loads(
        json.dumps(
            {
                "n": evidence.n,
                "users": evidence.users,
                "holdout": evidence.holdout,
                "holdout_use": evidence.holdout_use,
                "base_prompt": result.base_prompt,
                "arms": {arm: _measures(found) for arm, found in evidence.arms.items()},
                "tfidf_logreg": _measures(result.classic),
                "differences": {
                    kpi: {other: {"value": _finite(d.value), "lower": _finite(d.lower), "upper": _finite(d.upper),
                                  "level": d.level} for other, d in by_arm.items()}
                    for kpi, by_arm in evidence.differences.items()
                },
                "confusion": evidence.confusion,
            }
        )
    )  # fmt: skip


def _measures(found: dict[str, Measure]) -> dict[str, dict[str, float | None]]:
    return {
        kpi: {"value": _finite(m.value), "low": _finite(m.low), "high": _finite(m.high)} for kpi, m in found.items()
    }


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
