"""Returning: a fixed number of users who come back, so that looks see more of the same people.

It owns their visits; the gate and the order of looks are elsewhere. Each user keeps an approval of his own.
"""

import numpy as np

from bench.simulation.live import Bools, Seen, Votes, moments
from bench.simulation.user_model import Floats
from eval.gates.live_arms import ArmCounts


class Returning:
    """`users` dealt to two arms, each making one request between two looks and rating it with chance `rate`."""

    def __init__(
        self, users: int, approval: float, likeness: float, rate: float, runs: int, rng: np.random.Generator
    ) -> None:
        self.rng, self.rate, self.visits = rng, rate, 0
        a, b = (share * (1 - likeness) / likeness for share in (approval, 1 - approval))
        self.up = (rate * rng.beta(a, b, (runs, users))).astype(np.float32)
        self.canary = rng.random((runs, users), dtype=np.float32) < 0.5
        self.ups, self.rated = (np.zeros((runs, users), dtype=np.int16) for _ in range(2))

    def advance(self, look: int) -> Seen:
        """Everybody comes once more; at first so often that a hundred votes are cast in an arm."""
        first = max(1, round(200 / self.rate / self.up.shape[1]))
        for _ in range(first if look == 0 else 1):
            self.visits += 1
            drawn = self.rng.random(self.up.shape, dtype=np.float32)
            self.ups += drawn < self.up
            self.rated += drawn < self.rate
        score, rate = (2 * self.ups - self.rated) / self.visits, self.rated / self.visits
        (control, control_votes), (canary, canary_votes) = (
            (self._counts(arm, score, rate), Votes((self.ups * arm).sum(1), (self.rated * arm).sum(1)))
            for arm in (~self.canary, self.canary)
        )
        return Seen(control, canary, control_votes, canary_votes, self.visits * self.rate * self.up.shape[1] / 2)

    def _counts(self, arm: Bools, score: Floats, rate: Floats) -> ArmCounts:
        users = arm.sum(1).astype(np.float64)
        s, r, ss, rr, sr = ((values * arm).sum(1) for values in (score, rate, score**2, rate**2, score * rate))
        return moments(users, users * self.visits, s, r, ss, rr, sr, np.zeros(len(users)), 1.0)
