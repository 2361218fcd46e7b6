"""Naive gates: what others do, shown failing where the gate does not.

Each treats every vote as if it came from another user, and ignores users who do not vote.
"""

import math

import numpy as np
from scipy.stats import norm

from bench.simulation.live import Bools, Floats, Seen, Votes
from eval.gates.sequential import margin, tuning

ALPHA = 0.05


def _gap(control: Votes, canary: Votes) -> tuple[Floats, Floats]:
    """The difference in approval and its standard error."""
    ours, theirs = (arm.ups / np.maximum(arm.rated, 1) for arm in (canary, control))
    variance = sum(p * (1 - p) / np.maximum(arm.rated, 1) for p, arm in ((ours, canary), (theirs, control)))
    return ours - theirs, np.sqrt(variance)


def point_any(seen: Seen) -> tuple[Bools, Bools]:
    """Promotes at any look whose point estimate is above the champion's."""
    gap, _ = _gap(seen.control_votes, seen.canary_votes)
    return gap > 0, np.zeros(len(gap), dtype=bool)


class PointAt:
    """Promotes or rolls back by the point estimate once there are n rated requests in an arm."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, seen: Seen) -> tuple[Bools, Bools]:
        """Answers at the first look with n or more."""
        gap, _ = _gap(seen.control_votes, seen.canary_votes)
        there = np.full(len(gap), seen.rated >= self.n)
        return there & (gap > 0), there & (gap <= 0)


def z_peeking(seen: Seen) -> tuple[Bools, Bools]:
    """A one-sided z-test at .05 at every look."""
    gap, error = _gap(seen.control_votes, seen.canary_votes)
    bound = norm.isf(ALPHA) * error
    return gap > bound, gap < -bound


def likelihood_ratio(seen: Seen) -> tuple[Bools, Bools]:
    """Stops when the generalised likelihood ratio is above ln((1 + ln n)/α), as TensorZero's track-and-stop does.

    Garivier and Kaufmann, "Optimal best arm identification with fixed confidence", 2016, with normal votes.
    """
    gap, error = _gap(seen.control_votes, seen.canary_votes)
    ratio = gap**2 / (2 * np.maximum(error, 1e-12) ** 2)
    shown = ratio > math.log((1 + math.log(2 * seen.rated)) / ALPHA)
    return shown & (gap > 0), shown & (gap < 0)


def item_sequence(seen: Seen) -> tuple[Bools, Bools]:
    """The confidence sequence of the gate, over votes instead of users."""
    gap, error = _gap(seen.control_votes, seen.canary_votes)
    n = np.maximum(seen.control_votes.rated + seen.canary_votes.rated, 1)
    width = margin(ALPHA, tuning(ALPHA, 2000, 0.21, 0.5), n, error)
    return gap - width > 0, gap + width < 0


class BeforeAfter:
    """A one-sided z-test of the canary against what the champion had before it, at every look."""

    def __init__(self, before: float) -> None:
        self.before = before

    def __call__(self, seen: Seen) -> tuple[Bools, Bools]:
        """Ignores control's own votes."""
        arm = seen.canary_votes
        gap = arm.ups / np.maximum(arm.rated, 1) - self.before
        bound = norm.isf(ALPHA) * math.sqrt(self.before * (1 - self.before)) / np.sqrt(np.maximum(arm.rated, 1))
        return gap > bound, gap < -bound
