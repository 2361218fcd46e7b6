"""Weigh labelled answers to live traffic: users label an answer more often when it was wrong.

Post-stratification (Holt and Smith 1979): labels of right and of wrong answers get the shares that right and wrong
answers have among live votes. It holds if users choose what they label by whether the answer was right.
Shapes: n items, b resamples.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eval.kpis.arrays import Floats, Ints

RIGHT, WRONG, UNKNOWN = 1, 0, -1
NORMAL_95 = 1.96
# With thumbs from fewer users, the share of right answers is not known.
LEAST_VOTERS = 20


@dataclass(frozen=True, slots=True)
class Approval:
    """The share of thumbs that are up, with its standard error over voters."""

    share: float
    error: float
    voters: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval, within 0 and 1."""
        return max(0.0, self.share - NORMAL_95 * self.error), min(1.0, self.share + NORMAL_95 * self.error)


def approval_of(voters: int, up: float, votes: float, up_up: float, up_votes: float, votes_votes: float) -> Approval:
    """The approval from sums over voters of their thumbs up, thumbs, squares and product.

    A ratio of sums with its linearised error (Cochran 1977, 6.4). Votes that all agree have the error of one voter
    who does not.
    """
    if voters < 2 or votes <= 0:
        return Approval(math.nan, math.nan, voters)
    share = up / votes
    squares = up_up - 2 * share * up_votes + share**2 * votes_votes
    error = math.sqrt(max(squares, 0.0) * voters / (voters - 1)) / votes
    return Approval(share, max(error, 1 / voters) if share in (0.0, 1.0) else error, voters)


@dataclass(frozen=True)
class LabelSelection:
    """How the labels of a holdout were chosen: `served` says of each item (n,) whether the user's answer was right.

    `approval` is that of live answers in the same time.
    """

    served: Ints
    approval: Approval

    @cached_property
    def right(self) -> int:
        """The number of labels of answers that were right."""
        return int((self.served == RIGHT).sum())

    @cached_property
    def wrong(self) -> int:
        """The number of labels of answers that were wrong."""
        return int((self.served == WRONG).sum())

    @property
    def is_known(self) -> bool:
        """Whether enough voters say how often live answers are right."""
        return self.approval.voters >= LEAST_VOTERS and math.isfinite(self.approval.share)

    @property
    def effective(self) -> float:
        """The number of items that would have the same error without weights (Kish 1965)."""
        weights = self.point_weights[0]
        return float(weights.sum() ** 2 / (weights**2).sum())

    @cached_property
    def point_weights(self) -> Floats:
        """The items' weights, (1, n). All are 1 where the share of right answers is not known."""
        drawn = np.ones((1, len(self.served)))
        return drawn if not self.is_known else self._weigh(drawn, np.array([[self.approval.share]]))

    def weigh(self, drawn: Floats, rng: np.random.Generator) -> Floats:
        """Weights (b, n) from how often each item was drawn. Each resample draws its own approval too."""
        if not self.is_known:
            return drawn
        shares = rng.normal(self.approval.share, self.approval.error, (len(drawn), 1))
        return self._weigh(drawn, shares.clip(0, 1))

    def _weigh(self, drawn: Floats, shares: Floats) -> Floats:
        """A resample without right or without wrong answers keeps what it has."""
        strata = np.stack([self.served == WRONG, self.served == RIGHT]).astype(np.float64)
        counts = drawn @ strata.T
        both = (counts > 0).all(1, keepdims=True)
        wanted = np.hstack([1 - shares, shares]) * counts.sum(1, keepdims=True)
        factors = np.where(both, wanted / np.where(counts > 0, counts, 1), 1.0)
        return drawn * (factors @ strata + (self.served == UNKNOWN))
