"""Slices: how the candidate differs from the champion on parts of the held-out items, with a bound for each part.

All bounds hold together: each has the level divided by the number of slices that are judged (Bonferroni 1936).
Shapes: n items, b resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, Statistic, deviation_bounds, resample
from eval.kpis.evidence import Difference, Slice, SliceEvidence
from eval.kpis.label_selection import LabelSelection

Bools = npt.NDArray[np.bool_]

# The dimension whose slices are judged by the F1 of their label: a model that always gives one label is right on each
# item of that label.
LABEL = "label"
LABEL_F1 = "label_f1"
# As many voters as a holdout needs, counted as they weigh.
LEAST_VOTERS = 20
# A standard error needs fewer resamples than a percentile: with 2,000 its own error is 1.6%.
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """Held-out items: voters (n,) from 0, and the scores of champion and candidate in 0..1, (n,). `kpi` is their mean.

    `truth` (n,) and the arms' `answers`, both (n,), are numbers of labels. They are None without labels.
    A score that is NaN makes each slice with it NaN.
    """

    kpi: str
    voters: Ints
    champion: Floats
    candidate: Floats
    truth: Ints | None = None
    answers: tuple[Ints, Ints] | None = None

    @property
    def gained(self) -> Floats:
        """Candidate minus champion, (n,)."""
        return self.candidate - self.champion

    @property
    def lost(self) -> Bools:
        """The items on which the candidate scores lower than the champion, (n,)."""
        return self.gained < 0


@dataclass(frozen=True, slots=True)
class Dimension:
    """A property of items by its name, such as `app`, with the value of each item, (n,). None: not known."""

    name: str
    values: Sequence[str | None]

    def inside(self, value: str) -> Bools:
        """Which items have this value, (n,)."""
        return np.array([found == value for found in self.values], dtype=bool)


@dataclass(frozen=True, slots=True)
class _Part:
    """A slice that is judged. `units` are its voters as they weigh."""

    slice: Slice
    statistic: Statistic
    units: float


def compare_slices(
    items: ScoredItems,
    dimensions: Sequence[Dimension],
    plan: BootstrapPlan,
    least: int,
    selection: LabelSelection | None = None,
) -> SliceEvidence:
    """Compare the arms on every slice that has `least` items and LEAST_VOTERS voters, both as they weigh (Kish 1965).

    Voters are resampled as for the KPIs of all items, and a `selection` weighs the items. A slice of all items is none.
    """
    weights = selection.point_weights[0] if selection else np.ones(len(items.voters))
    parts, small = [], 0
    for dimension in dimensions:
        for value in sorted({value for value in dimension.values if value is not None}):
            inside = dimension.inside(value)
            if inside.all():
                continue
            voters = np.bincount(items.voters[inside], weights[inside]).astype(np.float64)
            units = _effective(voters)
            if _effective(weights[inside]) < least or units < LEAST_VOTERS:
                small += 1
                continue
            parts.append(_part(items, dimension.name, value, inside, units))
    level = plan.level / len(parts) if parts else plan.level
    drawn = replace(plan, resamples=min(plan.resamples, RESAMPLES))
    statistics = {place: part.statistic for place, part in enumerate(parts)}
    samples = resample(statistics, items.voters, drawn, selection) if parts else {}
    found = [
        replace(part.slice, difference=_difference(part, weights, samples[place], level))
        for place, part in enumerate(parts)
    ]
    # A slice that is not a number comes first, so that nobody overlooks it.
    found.sort(key=lambda one: (one.is_measured, one.difference.value if one.is_measured else 0.0))
    return SliceEvidence(tuple(found), small, least, level)


def _effective(weights: Floats) -> float:
    """The number of equal weights that would have the same error (Kish 1965)."""
    squares = float((weights**2).sum())
    return round(float(weights.sum()) ** 2 / squares, 6) if squares else 0.0


def _part(items: ScoredItems, name: str, value: str, inside: Bools, units: float) -> _Part:
    nothing = Difference(math.nan, math.nan, math.nan, math.nan)
    kpi, statistic = items.kpi, _mean_difference(items.gained, inside)
    if name == LABEL and items.truth is not None and items.answers is not None:
        kpi, statistic = LABEL_F1, _f1_difference(items, int(items.truth[inside][0]))
    voters = len(np.unique(items.voters[inside]))
    return _Part(Slice(name, value, kpi, int(inside.sum()), voters, nothing), statistic, units)


def _difference(part: _Part, weights: Floats, samples: Floats, level: float) -> Difference:
    value = float(part.statistic(weights[None])[0])
    lower, upper = deviation_bounds(value, samples, part.units, level)
    if math.isfinite(lower):
        # Scores are in 0..1.
        lower, upper = max(lower, -1.0), min(upper, 1.0)
    return Difference(value, lower, upper, level)


def _mean_difference(gained: Floats, inside: Bools) -> Statistic:
    places = np.flatnonzero(inside)
    values = gained[places]

    def statistic(weights: Floats) -> Floats:
        chosen = weights[:, places]
        total = chosen.sum(1)
        return np.divide(chosen @ values, total, out=np.full(len(weights), math.nan), where=total > 0)

    return statistic


def _f1_difference(items: ScoredItems, label: int) -> Statistic:
    """Candidate minus champion in the F1 of a label. NaN if any score is, because each answer counts in every F1."""
    assert items.truth is not None and items.answers is not None
    is_true = (items.truth == label).astype(np.float64)
    champion, candidate = ((answers == label).astype(np.float64) for answers in items.answers)
    measured = bool(np.isfinite(items.gained).all())

    def f1(said: Floats, weights: Floats) -> Floats:
        both = weights @ (is_true + said)
        return np.divide(2 * (weights @ (is_true * said)), both, out=np.full(len(weights), math.nan), where=both > 0)

    def statistic(weights: Floats) -> Floats:
        return f1(candidate, weights) - f1(champion, weights) if measured else np.full(len(weights), math.nan)

    return statistic
