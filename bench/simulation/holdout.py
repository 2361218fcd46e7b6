"""Holdout: candidates judged offline on the same held-out items, by the gate's own code.

It owns which items a candidate wins and loses against the champion; the bootstrap and the verdict are eval's. All
that a verdict depends on is how many items were won and lost and how often the holdout was used, so that each such
triple is judged once, by `eval.gates.offline.decide`, however many runs meet it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from core.settings import Primary, PromotionSettings
from eval.gates.offline import decide, spent_level
from eval.gates.result import Outcome
from eval.kpis.bootstrap import bounds, user_weights
from eval.kpis.evidence import Difference, Evidence, Measure

Ints = npt.NDArray[np.int64]
SETTINGS = PromotionSettings(primary=Primary(kpi="accuracy"), must_beat=[])
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Items:
    """A holdout of n items of n users, on which champion and candidates disagree on a share."""

    n: int
    approval: float = 0.7
    discordance: float = 0.15

    def ask(self, gains: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Items won and lost by each candidate, (runs, candidates), whose gains are given so.

        The candidates of a run meet the same items: where the champion was lucky, all of them look worse.
        """
        right = rng.binomial(self.n, self.approval, (len(gains), 1))
        won = rng.binomial(self.n - right, (self.discordance + gains) / 2 / (1 - self.approval))
        lost = rng.binomial(right, (self.discordance - gains) / 2 / self.approval)
        return won, lost


@dataclass(frozen=True, slots=True)
class Clustered:
    """A holdout of few users with several items each, on which a candidate differs by user, and is no better."""

    users: int
    items_each: float = 5.0
    approval: float = 0.7
    # How far users are alike in themselves: their shares of right answers are beta, with this intraclass correlation.
    icc: float = 0.33
    # The share of items on which a candidate answers for itself; on the others as the champion does.
    own: float = 0.5

    def ask(self, candidates: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Items by user (users,), and how many more of them each candidate has right (candidates, users)."""
        items = rng.geometric(1 / self.items_each, self.users)
        shape = (candidates, self.users)
        right = rng.binomial(items, self._shares(rng, self.users))
        differing = rng.binomial(items, self.own, shape)
        ours = rng.binomial(differing, self._shares(rng, shape))
        theirs = rng.hypergeometric(right, items - right, differing)
        return items, ours - theirs

    def _shares(self, rng: np.random.Generator, shape: Any) -> npt.NDArray[np.float64]:
        weight = 1 / self.icc - 1
        return rng.beta(self.approval * weight, (1 - self.approval) * weight, shape)


class ClusteredGate:
    """`decide` on the user bootstrap of `kpis`, a candidate at a time, and the bootstrap's plain percentiles."""

    def __init__(self, users: int, seed: int = 0) -> None:
        self.users = users
        self._weights = user_weights(np.arange(users), RESAMPLES, seed)

    def outcomes(self, items: Ints, gained: Ints, use: int) -> tuple[bool, bool]:
        """Whether the gate passes a candidate, and whether plain percentiles would."""
        level, n = spent_level(SETTINGS.alpha, use), int(items.sum())
        samples = self._weights @ gained / (self._weights @ items)
        gain = Difference(float(gained.sum() / n), *bounds(samples, self.users, level), level)
        judged = decide(_evidence(n, self.users, use, gain), SETTINGS)
        return judged.outcome is Outcome.PASS, float(np.quantile(samples, level)) > 0


def _evidence(n: int, users: int, use: int, gain: Difference) -> Evidence:
    arm = {"accuracy": Measure(0.7, 0.66, 0.74)}
    differences = {"accuracy": {"champion": gain}}
    return Evidence(n, users, {"candidate": arm, "champion": arm}, differences, {}, "h1", use)


class OfflineGate:
    """`decide`, with the user bootstrap of `kpis` beneath it, once for each triple."""

    def __init__(self, items: Items, seed: int = 0) -> None:
        self.items = items
        weights = user_weights(np.arange(items.n), RESAMPLES, seed)
        # Items in the order won, lost, rest: only a resample's sum over the first m is needed.
        self._first = np.concatenate([np.zeros((RESAMPLES, 1)), np.cumsum(weights, axis=1)], axis=1)
        self._said: dict[tuple[int, int, int], Outcome] = {}

    def outcomes(self, won: Ints, lost: Ints, use: Ints) -> npt.NDArray[np.bool_]:
        """Whether each passes."""
        whole = np.stack(np.broadcast_arrays(won, lost, use), axis=-1)
        triples, place = np.unique(whole.reshape(-1, 3), axis=0, return_inverse=True)
        passed = np.array([self.outcome(*map(int, triple)) is Outcome.PASS for triple in triples])
        return passed[place].reshape(whole.shape[:-1])

    def outcome(self, won: int, lost: int, use: int) -> Outcome:
        """The verdict on one candidate."""
        if (won, lost, use) not in self._said:
            self._said[won, lost, use] = decide(self.evidence(won, lost, use), SETTINGS).outcome
        return self._said[won, lost, use]

    def evidence(self, won: int, lost: int, use: int) -> Evidence:
        """The evidence that `eval.kpis.comparison.compare_labels` returns for the same answers."""
        level = spent_level(SETTINGS.alpha, use)
        samples = (2 * self._first[:, won] - self._first[:, won + lost]) / self.items.n
        gain = Difference((won - lost) / self.items.n, *bounds(samples, self.items.n, level), level)
        return _evidence(self.items.n, self.items.n, use, gain)
