"""Holdouts whose labels users chose by whether the answer was right, judged by the gate's own code."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.simulation.holdout import SETTINGS
from eval.gates.offline import decide, spent_level
from eval.gates.result import Outcome
from eval.kpis.approval import Approval
from eval.kpis.arrays import Floats
from eval.kpis.audit import NO_AUDIT, Audit, LabelledAnswers, audit_of
from eval.kpis.bootstrap import bounds, mean_of, user_weights
from eval.kpis.evidence import Difference, Evidence, Measure
from eval.kpis.label_selection import ASKED, VOLUNTEERED, LabelSelection

# Every run weighs its own resamples. 2,000 have 60 beyond the bound of the first use.
RESAMPLES = 2_000
# Of answers without a mark, this share of the right ones has a label.
VOLUNTEERED_RIGHT = 0.02


@dataclass(frozen=True, slots=True)
class Drawn:
    """One holdout: whether champion and candidate are right on each item, (labels,), and how labels were chosen."""

    champion: npt.NDArray[np.bool_]
    candidate: npt.NDArray[np.bool_]
    selection: LabelSelection


@dataclass(frozen=True, slots=True)
class SelectedLabels:
    """A holdout of `labels` users. A wrong answer is labelled `ratio` times as often as a right one.

    The champion is right on a share `approval` of live answers. `voters` give one thumb each, to wrong answers
    `thumb_ratio` times as often. `asked` answers are marked, a share `audit_share` of all. A share `response` of their
    users who are no volunteers gives a label. Some of these labels are in the holdout. The candidate
    answers a share `discordance` of all items differently, and is right `gain` more often. `null` says that its
    promotion is wrong.
    """

    ratio: float
    gain: float
    labels: int = 300
    approval: float = 0.7
    discordance: float = 0.3
    voters: int = 600
    thumb_ratio: float = 1.0
    asked: int = 0
    audit_share: float = 0.05
    response: float = 0.5

    @property
    def null(self) -> bool:
        """Whether a promotion is wrong."""
        return self.gain <= 0

    def draw(self, rng: np.random.Generator) -> Drawn:
        """A holdout and what live traffic says."""
        origins = np.where(rng.random(self.labels) < self._asked_part(), ASKED, VOLUNTEERED)
        right = np.where(origins == ASKED, self._right(self._labelled(True)), self._right(self._labelled(False)))
        champion = rng.random(self.labels) < right
        won, lost = (self.discordance + self.gain) / 2, (self.discordance - self.gain) / 2
        differs = rng.random(self.labels) < np.where(champion, lost / self.approval, won / (1 - self.approval))
        up = _share(rng.binomial(self.voters, self._right((1.0, self.thumb_ratio))), self.voters)
        selection = LabelSelection(champion.astype(np.int64), up, self._audit(rng), origins)
        return Drawn(champion, champion ^ differs, selection)

    def _labelled(self, asked: bool) -> tuple[float, float]:
        """The shares of right and of wrong answers that get a label."""
        volunteers = VOLUNTEERED_RIGHT, VOLUNTEERED_RIGHT * self.ratio
        right, wrong = (share + (1 - share) * self.response if asked else share for share in volunteers)
        return right, wrong

    def _right(self, chances: tuple[float, float]) -> float:
        """The share of right answers among those that are chosen with these chances, if right and if wrong."""
        right, wrong = chances
        return self.approval * right / self._rate(right, wrong)

    def _rate(self, right: float, wrong: float) -> float:
        return self.approval * right + (1 - self.approval) * wrong

    def _asked_part(self) -> float:
        """The share of all labels that are of marked answers."""
        if not self.asked:
            return 0.0
        asked, others = self._rate(*self._labelled(True)), self._rate(*self._labelled(False))
        return self.audit_share * asked / (self.audit_share * asked + (1 - self.audit_share) * others)

    def _audit(self, rng: np.random.Generator) -> Audit:
        if not self.asked:
            return NO_AUDIT
        others = round(self.asked * (1 - self.audit_share) / self.audit_share)
        found = [self._answers(n, chances, rng) for n, chances in ((self.asked, True), (others, False))]
        return audit_of(found[0], found[1], LabelledAnswers())

    def _answers(self, answers: int, asked: bool, rng: np.random.Generator) -> LabelledAnswers:
        """Answers of one user each."""
        right = rng.binomial(answers, self.approval)
        chances = self._labelled(asked)
        said = [int(rng.binomial(n, chance)) for n, chance in zip((right, answers - right), chances, strict=True)]
        return LabelledAnswers.of_single(answers, sum(said), said[0])


def _share(up: int, voters: int) -> Approval:
    share = up / voters
    return Approval(share, math.sqrt(share * (1 - share) / voters), voters)


class SelectedGate:
    """`decide` on accuracy, with labels that have weights and with labels as they are."""

    def __init__(self, labels: int, seed: int = 0) -> None:
        self._drawn = user_weights(np.arange(labels), RESAMPLES, seed)

    def outcomes(self, holdout: SelectedLabels, rng: np.random.Generator) -> tuple[bool, bool, bool]:
        """Whether the gate passes a candidate, whether it would without the audit, and whether without weights."""
        drawn = holdout.draw(rng)
        gained = drawn.candidate.astype(np.float64) - drawn.champion
        ours, plain = self._passes(gained, drawn.selection, rng), self._passes(gained, None, rng)
        if not holdout.asked:
            return ours, ours, plain
        return ours, self._passes(gained, LabelSelection(drawn.selection.served, drawn.selection.thumbs), rng), plain

    def _passes(self, gained: Floats, selection: LabelSelection | None, rng: np.random.Generator) -> bool:
        weights = selection.weigh(self._drawn, rng) if selection else self._drawn
        point = selection.point_weights if selection else np.ones((1, len(gained)))
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
