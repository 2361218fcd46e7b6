"""Regressions: the held-out items where a candidate lost most against the champion, for people to read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from core.settings import GENERATE_PRIMARY, ModelSettings
from eval.kpis.arrays import Floats
from eval.kpis.evidence import ArmScores
from eval.measure.rows import Answers
from eval.measure.texts import ArmTexts
from feedback.snapshot import Row

MOST = 20
# Characters of a written answer that are kept.
LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Regression:
    """An item with both arms' answers and the loss in its KPI, which is above 0.

    `wanted` is the true label. It is None for an answer in words, whose reference is in the votes.
    """

    interaction_id: str
    kpi: str
    wanted: str | None
    champion: str
    candidate: str
    loss: float


def find_regressions(rows: Sequence[Row], answers: Answers, settings: ModelSettings) -> list[dict[str, Any]]:
    """The worst items as table rows. `place` 1 is the worst."""
    match answers["champion"], answers["candidate"]:
        case ArmTexts() as champion, ArmTexts() as candidate:
            worst = text_regressions(rows, champion, candidate, settings)
        case ArmScores() as champion, ArmScores() as candidate:
            worst = label_regressions(rows, champion, candidate, settings)
        case _:
            raise TypeError("champion and candidate have different kinds of answers")
    return [{"place": place} | asdict(regression) for place, regression in enumerate(worst, 1)]


def label_regressions(
    rows: Sequence[Row], champion: ArmScores, candidate: ArmScores, settings: ModelSettings
) -> list[Regression]:
    """Items that only the champion labels correctly, by the loss in the true label's probability."""
    labels = settings.labels
    truth = np.array([labels.index(row.label) for row in rows], dtype=np.int64)
    theirs, ours = (scores.probabilities.argmax(1) for scores in (champion, candidate))
    items = np.arange(len(rows))
    lost = champion.probabilities[items, truth] - candidate.probabilities[items, truth]
    losses = np.where((theirs == truth) & (ours != truth), lost, 0.0)
    return [
        Regression(
            rows[n].interaction_id, "accuracy", rows[n].label, labels[theirs[n]], labels[ours[n]], float(losses[n])
        )
        for n in _worst(losses)
    ]


def text_regressions(
    rows: Sequence[Row], champion: ArmTexts, candidate: ArmTexts, settings: ModelSettings
) -> list[Regression]:
    """Items whose answer scores lower than the champion's in the primary KPI.

    If single answers do not have the primary KPI, token F1 replaces it.
    """
    primary = settings.promotion.primary.kpi
    kpi = primary if primary in candidate.scores else GENERATE_PRIMARY
    losses = champion.scores[kpi] - candidate.scores[kpi]
    return [
        Regression(
            rows[n].interaction_id,
            kpi,
            None,
            champion.texts[n][:LONGEST],
            candidate.texts[n][:LONGEST],
            float(losses[n]),
        )
        for n in _worst(losses)
    ]


def _worst(losses: Floats) -> list[int]:
    """The items with the largest losses above 0, largest first. Equal losses keep the order of the items."""
    order = np.argsort(-losses, kind="stable")[:MOST]
    return [int(n) for n in order if losses[n] > 0]
