"""Slices: how the candidate differs from the champion on parts of the held-out items, with a bound for each part.

All upper bounds hold together: each has the level divided by the number of judged slices (Bonferroni 1936).
Shapes: n items, b resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, Statistic, deviation_bounds, resample
from eval.kpis.evidence import Difference, Slice, SliceEvidence
from eval.kpis.label_selection import LabelSelection

Bools = npt.NDArray[np.bool_]

# Items with labels are judged by the F1 of their labels, in every dimension. By accuracy, a model that always gives one
# label is right on each item of that label, and the items of an app or a topic can be of nearly one label.
LABEL_F1 = "label_f1"
# As many voters as a holdout needs, counted as they weigh.
LEAST_VOTERS = 20
# A standard error needs fewer resamples than a percentile: with 2,000 its own error is 1.6%.
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """Held-out items: voters (n,) from 0, and the scores of champion and candidate in 0..1, (n,). `kpi` is their mean.

    `truth` (n,) and the arms' `answers`, both (n,), are numbers of labels. Slices are then compared by LABEL_F1.
    They are None without labels.
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
    if items.truth is not None and items.answers is not None:
        kpi, statistic = LABEL_F1, _f1_difference(items, inside)
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


def _f1_difference(items: ScoredItems, inside: Bools) -> Statistic:
    """Candidate minus champion in the mean F1 of a slice's labels, by their items in it. NaN if any score is NaN.

    The F1 of a label needs items of other labels, and a slice can have few. Up to their share among all items, they are
    then counted from outside the slice. So a model with the same bias everywhere has the F1 of all items.
    """
    assert items.truth is not None and items.answers is not None
    truth, places = items.truth, np.flatnonzero(inside)
    labels = np.unique(truth[places])
    of_label = _by_label(truth, labels)
    right = [_by_label(truth, labels, said == truth)[places] for said in items.answers]
    wrong = [_by_label(said, labels, said != truth) for said in items.answers]
    measured = bool(np.isfinite(items.gained).all())

    def statistic(weights: Floats) -> Floats:
        chosen = weights[:, places]
        total = chosen.sum(1, keepdims=True)
        own, everywhere = chosen @ of_label[places], weights @ of_label
        # Items of other labels in the slice and outside, and how many the F1 of each label needs.
        here = total - own
        outside = weights.sum(1, keepdims=True) - everywhere - here
        needed = own * _share(here + outside, everywhere)
        counted = np.minimum(needed, here)

        def f1(arm: int) -> Floats:
            hits, wrong_here = chosen @ right[arm], chosen @ wrong[arm][places]
            wrong_outside = weights @ wrong[arm] - wrong_here
            misses = counted * _share(wrong_here, here) + (needed - counted) * _share(wrong_outside, outside)
            return _share(2 * hits, own + hits + misses)

        found = (_share(own, total) * (f1(1) - f1(0))).sum(1)
        return np.where(measured & (total[:, 0] > 0), found, math.nan)

    return statistic


def _share(part: Floats, whole: Floats) -> Floats:
    """0 of nothing."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _by_label(numbers: Ints, labels: Ints, chosen: Bools | None = None) -> Any:
    """1 where an item is chosen and its number is one of k labels, sparse (n, k). Weights (b, n) times it are sums."""
    from scipy.sparse import csr_array

    known = np.isin(numbers, labels) if chosen is None else np.isin(numbers, labels) & chosen
    rows = np.flatnonzero(known)
    cells = np.ones(len(rows)), (rows, np.searchsorted(labels, numbers[rows]))
    return csr_array(cells, shape=(len(numbers), len(labels)))
