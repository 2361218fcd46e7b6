"""Evidence: what an evaluation measured, as plain data that a gate can judge.

It owns the arithmetic from scores to values, differences and intervals; it must not decide anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval import kpis
from eval.kpis import Floats, Ints

RESAMPLED = ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "brier")


@dataclass(frozen=True, slots=True)
class ArmScores:
    """What one arm said of n items: probabilities (n, k), mass on the labels (n,), prompt tokens (n,).

    `latency_ms` are one-at-a-time times of some items; empty when they were not taken.
    """

    probabilities: Floats
    mass: Floats
    prompt_tokens: Ints
    latency_ms: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, slots=True)
class Measure:
    """A KPI of one arm with its 95 % interval; NaN bounds where none can be given."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus another arm on the same items; `lower` and `upper` are one-sided bounds at `level`."""

    value: float
    lower: float
    upper: float
    level: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """One evaluation: KPIs by arm, and the candidate's paired differences by KPI and arm."""

    n: int
    users: int
    arms: dict[str, dict[str, Measure]]
    differences: dict[str, dict[str, Difference]]
    confusion: dict[str, list[list[int]]]
    holdout: str = ""
    holdout_use: int = 1


def measure(truth: Ints, users: Ints, arms: Mapping[str, ArmScores], *, primary_level: float, level: float,
            primary: str, resamples: int, seed: int, holdout: str = "", holdout_use: int = 1) -> Evidence:  # fmt: skip
    """Evidence over the same items for all arms.

    `primary_level` is the one-sided level for the primary KPI's differences, `level` for every other.
    """
    weights = kpis.user_weights(users, resamples, seed)
    samples = {
        name: {kpi: kpis.resampled(kpi, truth, scores.probabilities, weights) for kpi in RESAMPLED}
        for name, scores in arms.items()
    }
    values = {name: _measures(truth, scores, samples[name]) for name, scores in arms.items()}
    differences: dict[str, dict[str, Difference]] = {}
    if "candidate" in arms:
        for kpi in RESAMPLED:
            at = primary_level if kpi == primary else level
            differences[kpi] = {
                other: _difference(values, samples, kpi, other, at) for other in arms if other != "candidate"
            }
    size = next(iter(arms.values())).probabilities.shape[1]
    return Evidence(
        n=len(truth),
        users=int(users.max()) + 1,
        arms=values,
        differences=differences,
        confusion={name: _confusion(truth, scores.probabilities, size) for name, scores in arms.items()},
        holdout=holdout,
        holdout_use=holdout_use,
    )


def _measures(truth: Ints, scores: ArmScores, samples: Mapping[str, Floats]) -> dict[str, Measure]:
    found = {}
    for kpi, function in kpis.POINT.items():
        value = function(truth, scores.probabilities)
        low, high = kpis.interval(samples[kpi]) if kpi in samples else (float("nan"), float("nan"))
        found[kpi] = Measure(value, low, high)
    found["invalid_mass"] = _plain(float(1 - scores.mass.mean()))
    found["prompt_tokens"] = _plain(float(scores.prompt_tokens.mean()))
    for name, q in (("p50_latency_ms", 50), ("p95_latency_ms", 95)):
        if len(scores.latency_ms):
            found[name] = _plain(float(np.percentile(scores.latency_ms, q)))
    return found


def _plain(value: float) -> Measure:
    return Measure(value, float("nan"), float("nan"))


def _difference(values: Mapping[str, Mapping[str, Measure]], samples: Mapping[str, Mapping[str, Floats]],
                kpi: str, other: str, level: float) -> Difference:  # fmt: skip
    spread = samples["candidate"][kpi] - samples[other][kpi]
    lower, upper = np.nanquantile(spread, [level, 1 - level])
    value = values["candidate"][kpi].value - values[other][kpi].value
    return Difference(value, float(lower), float(upper), level)


def _confusion(truth: Ints, probabilities: Floats, size: int) -> list[list[int]]:
    table = np.zeros((size, size), dtype=int)
    np.add.at(table, (truth, probabilities.argmax(1)), 1)
    return table.tolist()


def user_numbers(users: Sequence[str]) -> Ints:
    """Users as numbers 0..u-1."""
    return np.unique(np.array(users), return_inverse=True)[1].astype(np.int64)
