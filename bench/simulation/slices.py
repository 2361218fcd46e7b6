"""Holdouts cut into slices, judged by the check of slices in the gate's own code."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.settings import SliceSettings
from eval.gates.result import Outcome
from eval.gates.slices import check_slices
from eval.kpis.approval import Approval
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan
from eval.kpis.evidence import SliceEvidence
from eval.kpis.label_selection import LabelSelection
from eval.kpis.slices import Bools, Dimension, ScoredItems, compare_slices

SETTINGS = SliceSettings()
ALPHA = 0.05
RESAMPLES = 500
# The dimensions of an evaluation with three labels, and the shares of their slices: 24 slices in all.
SHARES: Mapping[str, tuple[float, ...]] = {
    "length": (1 / 3, 1 / 3, 1 / 3),
    "script": (0.9, 0.1),
    "app": (0.5, 0.3, 0.2),
    "day": (1 / 7,) * 7,
    "topic": (0.25, 0.2, 0.2, 0.15, 0.1, 0.1),
}
LABELS = 3


@dataclass(frozen=True, slots=True)
class Sliced:
    """A holdout of `labels` items, of voters with `each` items on average (geometric). The champion is right on 70%.

    Candidate and champion differ on a share `discordance` of all items. Outside of the slice `fallen` (a dimension and
    the number of its slice) the candidate is right `gain` more often, and inside `loss` less often. What a voter's
    items win and lose differs between voters, each by a factor of mean 1 with the standard deviation `spread`. Wrong
    answers of the champion are labelled `ratio` times as often as right ones. `allowed` is the highest share of runs
    that may pass, `required` the lowest.

    With `proxy`, topics are of one label each, and so is this share of their items. The champion gives the first label
    to the share `bias` of all items, and the candidate is compared with what the champion says without it.
    """

    labels: int
    gain: float = 0.0
    loss: float = 0.0
    fallen: tuple[str, int] = ("app", 2)
    each: float = 2.0
    approval: float = 0.7
    discordance: float = 0.15
    spread: float = 0.5
    ratio: float = 1.0
    proxy: float = 0.0
    bias: float = 0.0
    required: float = 0.0
    allowed: float = 1.0
    shares: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: SHARES)

    def draw(self, rng: np.random.Generator) -> tuple[ScoredItems, list[Dimension], LabelSelection | None]:
        """A holdout with its dimensions, and how its labels were chosen."""
        voters = self._voters(rng)
        values = {name: rng.choice(len(shares), self.labels, p=shares) for name, shares in self.shares.items()}
        name, number = self.fallen
        fell = (values[name] == number) & (self.loss > 0)
        right = self.approval / (self.approval + (1 - self.approval) * self.ratio)
        right_answer = rng.random(self.labels) < right
        truth = rng.integers(0, LABELS, self.labels)
        if self.proxy:
            others = (values["topic"] + rng.integers(1, LABELS, self.labels)) % LABELS
            truth = np.where(rng.random(self.labels) < self.proxy, values["topic"] % LABELS, others)
        wrong = (truth + rng.integers(1, LABELS, self.labels)) % LABELS
        differs = rng.random(self.labels) < self._chances(right_answer, fell, voters, rng)
        says = np.where(right_answer, truth, wrong), np.where(right_answer ^ differs, truth, wrong)
        if self.bias:
            says = np.where(rng.random(self.labels) < self.bias, 0, says[0]), says[1]
        champion, candidate = says[0] == truth, says[1] == truth
        scored = ScoredItems("accuracy", voters, champion.astype(np.float64), candidate.astype(np.float64), truth, says)
        dimensions = [Dimension("label", [str(label) for label in truth])]
        dimensions += [Dimension(name, [str(value) for value in found]) for name, found in values.items()]
        if self.ratio == 1:
            return scored, dimensions, None
        thumbs = Approval(self.approval, np.sqrt(self.approval * (1 - self.approval) / 600), 600)
        return scored, dimensions, LabelSelection(champion.astype(np.int64), thumbs)

    def _voters(self, rng: np.random.Generator) -> Ints:
        counts = rng.geometric(1 / self.each, self.labels)
        return np.repeat(np.arange(self.labels), counts)[: self.labels]

    def _chances(self, champion: Bools, fell: Bools, voters: Ints, rng: np.random.Generator) -> Floats:
        """The chance of each item that the candidate answers it differently."""
        difference = np.where(fell, -self.loss, self.gain)
        discordance = np.maximum(self.discordance, np.abs(difference) + 0.1)
        lost = (discordance - difference) / 2 / self.approval
        won = (discordance + difference) / 2 / (1 - self.approval)
        shape = (1 / self.spread**2 - 1) / 2
        own = 2 * rng.beta(shape, shape, (2, self.labels))[:, voters]
        return np.clip(np.where(champion, lost * own[0], won * own[1]), 0, 1)


class SliceGate:
    """The check of slices, by every slice alone at 5%, and by point estimates."""

    def outcomes(self, holdout: Sliced, rng: np.random.Generator) -> tuple[bool, bool, bool]:
        """Whether the check passes a candidate, and whether the other two would."""
        scored, dimensions, selection = holdout.draw(rng)
        plan = BootstrapPlan(ALPHA, RESAMPLES, int(rng.integers(2**32)))
        found = compare_slices(scored, dimensions, plan, SETTINGS.least, selection)
        (check,) = check_slices(found, SETTINGS)
        return check.outcome is Outcome.PASS, self._alone(found), self._points(found)

    @staticmethod
    def _alone(found: SliceEvidence) -> bool:
        """Every slice at 5%, by the normal distribution: the bound's width from that of all slices together."""
        from scipy.special import ndtri

        shrunk = ndtri(ALPHA) / ndtri(found.level) if found.slices else 1.0
        return all(
            one.difference.value + (one.difference.upper - one.difference.value) * shrunk >= -SETTINGS.margin
            for one in found.slices
        )

    @staticmethod
    def _points(found: SliceEvidence) -> bool:
        return all(one.difference.value >= -SETTINGS.margin for one in found.slices)
