"""Intervals of proportions, quantiles and few units, and how many items it takes to see a paired difference.

It owns the formulas, each with its source; it must not know arms, suites or gates. Levels are one-sided.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr, ndtri, stdtrit

Floats = npt.NDArray[np.float64]
# How often two versions of a model differ on an item, where nothing is known of them.
USUAL_DISCORDANCE = 0.15


def expanded_tail(tail: float, n: int) -> float:
    """The tail at which a percentile bootstrap over n units misses `tail`; NaN where fewer than two were drawn.

    A bootstrap is too narrow on few units: it takes the deviation with n instead of n − 1, and its shape for
    normal. α′ = Φ(−√(n/(n−1))·t(α, n−1)) makes good both: Hesterberg, "What Teachers Should Know About the
    Bootstrap", The American Statistician 69, 2015, section 3.3.
    """
    if n < 2:
        return math.nan
    return float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, tail)))


def wilson(hits: float, n: float, level: float = 0.025) -> tuple[float, float]:
    """The score interval of one proportion, each side at `level`; NaN when there is nothing.

    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not n > 0:
        return math.nan, math.nan
    rate, spread = float(hits) / n, float(ndtri(level)) ** 2 / n
    middle = (rate + spread / 2) / (1 + spread)
    # In this form the lower bound of no hits is exactly 0.
    half = math.sqrt(spread * (rate * (1 - rate) + spread / 4)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def tango(won: int, lost: int, n: int, level: float = 0.05) -> tuple[float, float]:
    """The score interval of p(won) − p(lost) over n paired items, each side at `level`; NaN when n is 0.

    `won` counts the items that only the first arm has, `lost` those that only the second has. Tango,
    "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17, 1998. Unlike the bootstrap it is right with no discordant item at all.
    """
    if not n > 0:
        return math.nan, math.nan
    z = -float(ndtri(level))
    found = (won - lost) / n

    def upper(delta: float) -> float:
        return _tango_score(won, lost, n, delta) + z

    def lower(delta: float) -> float:
        return _tango_score(won, lost, n, delta) - z

    edge = 1 - 1e-12
    low = -1.0 if found <= -edge or lower(-edge) < 0 else _root(lower, -edge, found)
    high = 1.0 if found >= edge or upper(edge) > 0 else _root(upper, found, edge)
    return low, high


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import root_scalar  # control imports this module, and starts without

    return float(root_scalar(function, bracket=(low, high)).root)


def _tango_score(won: int, lost: int, n: int, delta: float) -> float:
    """How many standard errors the found difference is above `delta`; the error is the one under `delta`."""
    a, b = 2 * n, (2 * n - won + lost) * delta - won - lost
    c = -lost * delta * (1 - delta)
    only_second = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * only_second + delta * (1 - delta))
    distance = won - lost - n * delta
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def quantile(values: Floats, share: float, level: float = 0.025) -> tuple[float, float]:
    """Bounds of a quantile by order statistics, each side at `level`; NaN where n values are too few to have one.

    How many values lie below the quantile is binomial for any distribution (Conover, "Practical
    Nonparametric Statistics", 1999, section 3.2). p95 has an upper bound at .025 from 72 values on.
    """
    ordered, n = np.sort(values), len(values)
    below = bdtr(np.arange(n), n, share)
    lows, highs = np.flatnonzero(below <= level), np.flatnonzero(below >= 1 - level)
    low = float(ordered[lows[-1]]) if len(lows) else math.nan
    high = float(ordered[highs[0]]) if len(highs) else math.nan
    return low, high


def paired_items(difference: float, discordance: float, level: float = 0.05, power: float = 0.8) -> int:
    """Items that show a difference between paired proportions; `discordance` is the share on which the arms differ.

    Connor, "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43, 1987.
    """
    if not 0 < difference <= discordance <= 1:
        raise ValueError("a paired difference is above 0 and at most the discordance, which is at most 1")
    return math.ceil(_needed(difference, discordance, level, power))


def resolvable_difference(n: int, discordance: float, level: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference that n paired items show: `paired_items` read backwards; infinite without items.

    Where the arms hardly ever differ, the discordance itself is not known from n items: three discordant
    items are assumed, as the rule of three has it (Hanley and Lippman-Hand 1983).
    """
    if n <= 0:
        return math.inf
    assumed = min(1.0, max(discordance, 3 / n))
    if paired_items(assumed, assumed, level, power) > n:
        return resolvable_mean(math.sqrt(assumed), n, level, power)
    return _root(lambda d: _needed(d, assumed, level, power) - n, 1e-9, assumed)


def _needed(difference: float, discordance: float, level: float, power: float) -> float:
    spread = ndtri(power) * math.sqrt(discordance - difference**2) - ndtri(level) * math.sqrt(discordance)
    return float(spread / difference) ** 2


def resolvable_mean(deviation: float, n: float, level: float = 0.05, power: float = 0.8) -> float:
    """The smallest mean that n paired differences with this deviation show (normal approximation)."""
    return float(ndtri(power) - ndtri(level)) * deviation / math.sqrt(n) if n > 0 else math.inf
