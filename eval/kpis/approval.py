"""The share of live answers that are right, with its error over voters."""

import math
from dataclasses import dataclass

NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Approval:
    """A share of answers, with its standard error over voters."""

    share: float
    error: float
    voters: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval, within 0 and 1."""
        return max(0.0, self.share - NORMAL_95 * self.error), min(1.0, self.share + NORMAL_95 * self.error)

    def differs(self, other: "Approval") -> bool:
        """Whether two independent shares are further apart than chance explains, at 5%."""
        return abs(self.share - other.share) > NORMAL_95 * math.hypot(self.error, other.error)


UNKNOWN_APPROVAL = Approval(math.nan, math.nan, 0)


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
