"""Weigh labelled answers to live traffic: users label an answer more often when it was wrong.

Post-stratification (Holt and Smith 1979): labels of right and of wrong answers get the shares that right and wrong
answers have live. It holds if users choose what they label by whether the answer was right. Labels of random answers
need no such assumption and keep their own weight.
Shapes: n items, b resamples.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eval.kpis.approval import Approval
from eval.kpis.arrays import Floats, Ints
from eval.kpis.audit import NO_AUDIT, Audit

RIGHT, WRONG, UNKNOWN = 1, 0, -1
# With thumbs from fewer users, they do not say how often answers are right.
LEAST_VOTERS = 20
# Why a label was given, as feedback/label_origins.py names it.
ORIGINS = ("volunteered", "asked", "drawn", "reviewer")
VOLUNTEERED, ASKED, DRAWN, REVIEWER = range(len(ORIGINS))


@dataclass(frozen=True)
class LabelSelection:
    """How the labels of a holdout were chosen: `served` says of each item (n,) whether the user's answer was right.

    `thumbs` is the share of live thumbs that are up in the same time, `audit` what labels of random answers say.
    `origins` (n,) are places in ORIGINS. Without them every label was volunteered.
    """

    served: Ints
    thumbs: Approval
    audit: Audit = NO_AUDIT
    origins: Ints | None = None

    @cached_property
    def right(self) -> int:
        """The number of labels of answers that were right."""
        return int((self.served == RIGHT).sum())

    @cached_property
    def wrong(self) -> int:
        """The number of labels of answers that were wrong."""
        return int((self.served == WRONG).sum())

    @property
    def live(self) -> Approval:
        """The share of live answers that are right: by the audit if it has enough labels, else by thumbs."""
        return self.audit.approval if self.audit.is_known else self.thumbs

    @property
    def is_known(self) -> bool:
        """Whether an audit or enough voters say how often live answers are right."""
        return self.audit.is_known or self.thumbs_are_known

    @property
    def thumbs_are_known(self) -> bool:
        """Whether enough voters gave thumbs."""
        return self.thumbs.voters >= LEAST_VOTERS and math.isfinite(self.thumbs.share)

    @property
    def effective(self) -> float:
        """The number of items that would have the same error without weights (Kish 1965)."""
        weights = self.point_weights[0]
        squares = float((weights**2).sum())
        return float(weights.sum() ** 2 / squares) if squares else 0.0

    def count(self, origin: int) -> int:
        """The number of labels that were given for this reason."""
        return int((self._origins == origin).sum())

    @cached_property
    def point_weights(self) -> Floats:
        """The items' weights, (1, n). All are 1 where the share of right answers is not known."""
        drawn = np.ones((1, len(self.served)))
        return drawn if not self.is_known else self._weigh(drawn, np.array([[self.live.share]]))

    def weigh(self, drawn: Floats, rng: np.random.Generator) -> Floats:
        """Weights (b, n) from how often each item was drawn. Each resample draws its own share of right answers too."""
        if not self.is_known:
            return drawn
        shares = rng.normal(self.live.share, self.live.error, (len(drawn), 1))
        return self._weigh(drawn, shares.clip(0, 1))

    @cached_property
    def _origins(self) -> Ints:
        return np.full(len(self.served), VOLUNTEERED) if self.origins is None else self.origins

    @cached_property
    def _random(self) -> npt.NDArray[np.bool_]:
        """The items of known answers, (n,), that nobody chose. Without an audit no item counts as one."""
        by_origin = np.array([False, not self.audit.ignored, True, False])
        return by_origin[self._origins] & (self.served != UNKNOWN) & self.audit.is_known

    def _weigh(self, drawn: Floats, shares: Floats) -> Floats:
        """Chosen items that are all of right, or all of wrong answers, say nothing of live traffic.

        In that resample they keep what they have, or count for nothing where random items judge.
        """
        strata = np.stack([self.served == WRONG, self.served == RIGHT]).astype(np.float64)
        chosen = strata * ~self._random
        counts = drawn @ chosen.T
        both = (counts > 0).all(1, keepdims=True)
        wanted = np.hstack([1 - shares, shares]) * counts.sum(1, keepdims=True)
        alone = 0.0 if self._random.any() else 1.0
        factors = np.where(both, wanted / np.where(counts > 0, counts, 1), alone)
        asked = self._random & (self._origins == ASKED)
        own = np.where(asked, np.asarray(self.audit.factors) @ strata, 1.0) * (self._random | (self.served == UNKNOWN))
        return drawn * (factors @ chosen + own)
