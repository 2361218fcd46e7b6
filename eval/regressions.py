"""Regressions: the held-out items where a candidate did worst against the champion, for people to read.

It owns which items those are, as pure functions over what the arms answered; it must not know where they are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from core.settings import GENERATE_PRIMARY, ModelSettings
from eval.kpis.classification import Floats
from eval.kpis.evidence import ArmScores
from eval.measure.texts import Written
from feedback.snapshot import Row

MOST = 20
# Characters of an answer in words that are kept.
LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Regression:
    """An item with what both arms answered, by the KPI `kpi`; `loss` is above 0.

    `wanted` is the right label, None for an answer in words: what users wrote is read from their votes.
    """

    interaction_id: str
    kpi: str
    wanted: str | None
    champion: str
    candidate: str
    loss: float


def regressions(rows: Sequence[Row], arms: Mapping[str, Any], settings: ModelSettings) -> list[dict[str, Any]]:
    """The worst items as plain rows with their places, 1 the worst; `arms` holds what the task's arms answered."""
    worst = written if settings.task == "generate" else chosen
    found = worst(rows, arms["champion"], arms["candidate"], settings)
    return [{"place": place} | asdict(one) for place, one in enumerate(found, 1)]


def chosen(rows: Sequence[Row], champion: ArmScores, candidate: ArmScores, settings: ModelSettings) -> list[Regression]:
    """Items that the candidate labels wrong and the champion right, by what the true label's probability lost."""
    labels = settings.labels
    truth = np.array([labels.index(row.label) for row in rows], dtype=np.int64)
    theirs, ours = (scores.probabilities.argmax(1) for scores in (champion, candidate))
    items = np.arange(len(rows))
    lost = champion.probabilities[items, truth] - candidate.probabilities[items, truth]
    turned = np.where((theirs == truth) & (ours != truth), lost, 0.0)
    return [
        Regression(
            rows[n].interaction_id, "accuracy", rows[n].label, labels[theirs[n]], labels[ours[n]], float(lost[n])
        )
        for n in _worst(turned)
    ]


def written(rows: Sequence[Row], champion: Written, candidate: Written, settings: ModelSettings) -> list[Regression]:
    """Items whose answer is worth less than the champion's in the primary KPI, by how much less.

    Where the primary is none of the answers' themselves, token F1 is in its place.
    """
    primary = settings.promotion.primary.kpi
    kpi = primary if primary in candidate.worth else GENERATE_PRIMARY
    lost = champion.worth[kpi] - candidate.worth[kpi]
    return [
        Regression(
            rows[n].interaction_id, kpi, None, champion.texts[n][:LONGEST], candidate.texts[n][:LONGEST], float(lost[n])
        )
        for n in _worst(lost)
    ]


def _worst(lost: Floats) -> list[int]:
    """The places of the largest losses above 0, the largest first; of equal ones the earlier first."""
    order = np.argsort(-lost, kind="stable")[:MOST]
    return [int(n) for n in order if lost[n] > 0]
