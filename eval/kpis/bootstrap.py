"""The bootstrap over users: resampled statistics, intervals and one-sided bounds.

Shapes: n items, u users, b resamples. users is (n,) int64 with values 0..u-1. weights is (b, n) float64 and says how
often each item's user was drawn. Resamples are drawn in parts, so memory does not grow with their number.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

from eval.kpis.arrays import Floats, Ints
from eval.kpis.intervals import expanded_tail
from eval.kpis.label_selection import LabelSelection

Statistic = Callable[[Floats], Floats]
"""A value for each resample: weights (b, n) to (b,)."""
Key = TypeVar("Key")

# Weights in memory at once: 8 MB, and a few arrays of that size for ROC AUC.
CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class BootstrapPlan:
    """How bounds are computed: the one-sided level of a difference, the number of resamples and the seed.

    `levels` holds the level of each KPI that does not use `level`.
    """

    level: float
    resamples: int = 10_000
    seed: int = 0
    levels: Mapping[str, float] = field(default_factory=dict)

    def level_of(self, kpi: str) -> float:
        """The one-sided level for the differences of a KPI."""
        return self.levels.get(kpi, self.level)


def draw_weights(users: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield the weights of some resamples at a time. Each resample draws u users with replacement."""
    count, rng = int(users.max()) + 1, np.random.default_rng(seed)
    chances, at_once = np.full(count, 1 / count), max(1, CELLS // len(users))
    for start in range(0, resamples, at_once):
        drawn = rng.multinomial(count, chances, size=min(at_once, resamples - start))
        yield drawn[:, users].astype(np.float64)


def user_weights(users: Ints, resamples: int, seed: int) -> Floats:
    """All weights (b, n) at once, for few items."""
    return np.concatenate(list(draw_weights(users, resamples, seed)))


def resample(
    statistics: Mapping[Key, Statistic], users: Ints, plan: BootstrapPlan, selection: LabelSelection | None = None
) -> dict[Key, Floats]:
    """Compute each statistic in every resample, (b,). All use the same resamples, so two arms form a pair.

    A `selection` weighs the items in each resample.
    """
    parts: dict[Key, list[Floats]] = {key: [] for key in statistics}
    rng = np.random.default_rng([plan.seed, 1])
    for drawn in draw_weights(users, plan.resamples, plan.seed):
        weights = selection.weigh(drawn, rng) if selection else drawn
        for key, statistic in statistics.items():
            parts[key].append(statistic(weights))
    return {key: np.concatenate(values) for key, values in parts.items()}


def mean_of(values: Floats) -> Statistic:
    """The mean of values (n,) as a statistic. Items whose value is NaN have none and do not count."""
    known = np.isfinite(values)
    if known.all():
        return lambda weights: weights @ values / weights.sum(1)
    found, counts = np.where(known, values, 0.0), known.astype(np.float64)

    def mean(weights: Floats) -> Floats:
        total = weights @ counts
        return np.divide(weights @ found, total, out=np.full(len(weights), math.nan), where=total > 0)

    return mean


def interval(samples: Floats, units: int, level: float = 0.95) -> tuple[float, float]:
    """The expanded percentile interval of a bootstrap over this number of units."""
    return bounds(samples, units, (1 - level) / 2)


def bounds(samples: Floats, units: int, tail: float) -> tuple[float, float]:
    """One-sided bounds of a bootstrap, each at `tail`: percentiles, expanded for the number of units drawn.

    NaN if more than a tenth of the resamples is not finite. NaN if less than one resample is beyond the bound: the
    bound would be the smallest value that chance happened to draw.
    """
    expanded = expanded_tail(tail, units)
    if np.isfinite(samples).mean() < 0.9 or not expanded * len(samples) >= 1:
        return math.nan, math.nan
    low, high = np.nanquantile(samples, [expanded, 1 - expanded])
    return float(low), float(high)


def deviation_bounds(value: float, samples: Floats, units: float, tail: float) -> tuple[float, float]:
    """One-sided bounds, each at `tail`, by the standard error of a bootstrap: value ± t·s·√(u/(u − 1)) for u units.

    For levels that are too small for percentiles, which need a resample beyond the bound (Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapters 6 and 12). NaN if the value is, for fewer than two units, or if more
    than a tenth of the resamples is not finite.
    """
    known = samples[np.isfinite(samples)]
    if not math.isfinite(value) or units < 2 or len(known) < 2 or len(known) < 0.9 * len(samples):
        return math.nan, math.nan
    half = -float(stdtrit(units - 1, tail)) * float(known.std()) * math.sqrt(units / (units - 1))
    return value - half, value + half


def user_numbers(users: Sequence[str]) -> Ints:
    """Number the users 0..u-1."""
    return np.unique(np.array(users), return_inverse=True)[1].astype(np.int64)
