"""Measure arms on the rows of a snapshot: label probabilities or answers in words, as the model's task requires."""

from collections.abc import Mapping, Sequence

import numpy as np

from core.settings import ModelSettings
from eval.arm_definitions import Arm, Item
from eval.engine_queries import EngineContext
from eval.kpis.bootstrap import BootstrapPlan, user_numbers
from eval.kpis.comparison import compare_labels
from eval.kpis.evidence import ArmScores, Evidence
from eval.kpis.label_selection import LabelSelection
from eval.measure.labels import Labels, score_labels
from eval.measure.texts import ArmTexts, compare_texts, write_answers
from feedback.snapshot import Row

Answers = Mapping[str, ArmScores] | Mapping[str, ArmTexts]


def items_of(rows: Sequence[Row], settings: ModelSettings) -> list[Item]:
    """The rows as items. The truth is the number of the label."""
    return [Item(row.interaction_id, row.user, row.prompt, settings.labels.index(row.label)) for row in rows]


def measure_rows(
    engine: EngineContext,
    arms: Sequence[Arm],
    rows: Sequence[Row],
    settings: ModelSettings,
    plan: BootstrapPlan,
    *,
    latency_items: int = 0,
    holdout_use: int = 1,
    selection: LabelSelection | None = None,
) -> tuple[Evidence, Answers]:
    """The evidence from the rows, and every arm's answers. `selection` weighs rows with labels to live traffic."""
    users = user_numbers([row.user for row in rows])
    if settings.task == "generate":
        pairs = [(row.prompt, row.label) for row in rows]
        texts = write_answers(
            engine, arms, pairs, max_tokens=settings.evaluation.max_tokens, latency_items=latency_items
        )
        return compare_texts(users, texts, plan, holdout_use=holdout_use), texts
    items = items_of(rows, settings)
    scores = score_labels(engine, arms, items, Labels(engine, settings.labels), latency_items=latency_items)
    truth = np.array([item.truth for item in items])
    return compare_labels(truth, users, scores, plan, holdout_use=holdout_use, selection=selection), scores
