"""Holdouts whose labels users chose by whether the answer was right, judged by the gate's own code."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.simulation.holdout import SETTINGS
from eval.gates.offline import decide, spent_level
from eval.gates.result import Outcome
from eval.kpis.bootstrap import bounds, mean_of, user_weights
from eval.kpis.evidence import Difference, Evidence, Measure
from eval.kpis.label_selection import Approval, LabelSelection

# Every run weighs its own resamples. 2,000 have 60 beyond the bound of the first use.
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class SelectedLabels:
    """A holdout of `labels` users. A wrong answer is labelled `ratio` times as often as a right one.

    The champion is right on a share `approval` of live answers, which `voters` say by one thumb each. The candidate
    answers a share `discordance` of all items differently, and is right `gain` more often. `null` says that its
    promotion is wrong.
    """

    ratio: float
    gain: float
    labels: int = 300
    approval: float = 0.7
    discordance: float = 0.3
    voters: int = 600

    @property
    def null(self) -> bool:
        """Whether a promotion is wrong."""
        return self.gain <= 0

    def draw(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], Approval]:
        """Whether champion and candidate are right on each item, (labels,) each, and the approval by thumbs."""
        odds = self.approval / (self.approval + self.ratio * (1 - self.approval))
        champion = np.arange(self.labels) < rng.binomial(self.labels, odds)
        won, lost = (self.discordance + self.gain) / 2, (self.discordance - self.gain) / 2
        differs = rng.random(self.labels) < np.where(champion, lost / self.approval, won / (1 - self.approval))
        share = rng.binomial(self.voters, self.approval) / self.voters
        return champion, champion ^ differs, Approval(share, math.sqrt(share * (1 - share) / self.voters), self.voters)


class SelectedGate:
    """`decide` on accuracy, with labels that have weights and with labels as they are."""

    def __init__(self, labels: int, seed: int = 0) -> None:
        self._drawn = user_weights(np.arange(labels), RESAMPLES, seed)

    def outcomes(self, holdout: SelectedLabels, rng: np.random.Generator) -> tuple[bool, bool]:
        """Whether the gate passes a candidate, and whether it would without weights."""
        champion, candidate, approval = holdout.draw(rng)
        selection = LabelSelection(champion.astype(np.int64), approval)
        gained = candidate.astype(np.float64) - champion
        weighted = self._passes(gained, selection.weigh(self._drawn, rng), selection.point_weights, selection)
        return weighted, self._passes(gained, self._drawn, np.ones((1, len(gained))), None)

    def _passes(
        self,
        gained: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        point: npt.NDArray[np.float64],
        selection: LabelSelection | None,
    ) -> bool:
        level, n, gain = spent_level(SETTINGS.alpha, 1), len(gained), mean_of(gained)
        difference = Difference(float(gain(point)[0]), *bounds(gain(weights), n, level), level)
        arm = {"accuracy": Measure(0.7, 0.66, 0.74)}
        evidence = Evidence(
            n,
            n,
            {"candidate": arm, "champion": arm},
            {"accuracy": {"champion": difference}},
            {},
            "h1",
            1,
            selection=selection,
        )
        return decide(evidence, SETTINGS).outcome is Outcome.PASS
