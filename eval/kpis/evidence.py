"""Evidence: what an evaluation measured, as plain data that a gate can judge.

It owns the arithmetic from scores to values, differences and intervals; it must not decide anything.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from eval.kpis import classification, intervals
from eval.kpis.classification import Better, Floats, Ints

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
class SuiteEvidence:
    """What one guardrail suite found, in its own KPI, such as "hallucination" (`kpis.HIGHER_IS_BETTER` names them).

    `arms` holds the KPI of each arm over the suite's `n` items. `difference` is candidate minus champion on the
    same items; `relative` is candidate over champion minus one, for KPIs that are judged as a share of the
    champion's (mean_length); both are None where the champion was not asked. `resolvable` is the difference that
    these items would show with 80 % power. A suite that was to be asked and could not be has `n` 0 and says why
    in `missing`: left out altogether, it would not be missed. `users` is how many its items come from, 0 where
    they come from none. `better` says of a suite's KPI whether higher or lower is better, or neither; None where the
    KPI is one of ours.
    """

    kpi: str
    n: int
    arms: dict[str, Measure]
    difference: Difference | None = None
    relative: Difference | None = None
    resolvable: float = math.inf
    missing: str = ""
    users: int = 0
    better: Better | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One evaluation: KPIs by arm, and the candidate's paired differences by KPI and arm.

    `suites` holds the guardrail suites that were asked, by KPI. `champion_is_base` says that the champion is the
    base model, bare or with retrieval, against which a ratio of latencies means nothing. `candidate_is_rag` says that
    the candidate is a retrieval, so that no RAG arm stands beside it. `relative` is candidate over champion minus one,
    by KPI, where that was measured.
    """

    n: int
    users: int
    arms: dict[str, dict[str, Measure]]
    differences: dict[str, dict[str, Difference]]
    confusion: dict[str, list[list[int]]]
    holdout: str = ""
    holdout_use: int = 1
    suites: Mapping[str, SuiteEvidence] = field(default_factory=dict)
    champion_is_base: bool = False
    candidate_is_rag: bool = False
    relative: Mapping[str, Difference] = field(default_factory=dict)


def suite(
    kpi: str,
    outcomes: Mapping[str, Floats],
    *,
    level: float,
    users: Ints | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    better: Better | None = None,
) -> SuiteEvidence:
    """A suite's evidence from each arm's outcome on the same n items: (n,) floats by arm, 0 or 1 for a share.

    Shares get Wilson's and Tango's intervals, all else a bootstrap, which draws users where `users` (n,) numbers
    them. An outcome that is NaN (an item that could not be scored) makes the suite NaN, which no gate passes.
    """
    n = min((len(found) for found in outcomes.values()), default=0)
    if n == 0 or not all(np.isfinite(found).all() for found in outcomes.values()):
        why = "it has no items" if n == 0 else "some items have no outcome"
        return SuiteEvidence(kpi, n, {}, missing=why, better=better)
    shares = users is None and all(np.isin(found, (0, 1)).all() for found in outcomes.values())
    units = np.arange(n) if users is None else users
    drawn = int(units.max()) + 1
    means = classification.bootstrap(
        {arm: classification.mean_of(found) for arm, found in outcomes.items()}, units, resamples, seed
    )
    arms = {
        arm: Measure(
            float(found.mean()),
            *(intervals.wilson(found.sum(), n) if shares else classification.interval(means[arm], drawn)),
        )
        for arm, found in outcomes.items()
    }
    known = 0 if users is None else drawn
    if not {"candidate", "champion"} <= outcomes.keys():
        return SuiteEvidence(kpi, n, arms, users=known, better=better)
    ours, theirs = outcomes["candidate"], outcomes["champion"]
    apart = means["candidate"] - means["champion"]
    if shares:
        bounds = intervals.tango(int((ours > theirs).sum()), int((ours < theirs).sum()), n, level)
        resolvable = intervals.resolvable_difference(n, float((ours != theirs).mean()), level)
    else:
        bounds = classification.bounds(apart, drawn, level)
        resolvable = intervals.resolvable_mean(float(apart.std()), 1, level)
    relative = _relative(float(ours.mean()), float(theirs.mean()), means["candidate"], means["champion"], drawn, level)
    return SuiteEvidence(
        kpi,
        n,
        arms,
        Difference(float((ours - theirs).mean()), *bounds, level),
        relative,
        resolvable,
        users=known,
        better=better,
    )


def difference(ours: Floats, theirs: Floats, apart: Floats, drawn: int, level: float) -> Difference:
    """The paired difference of two means over the same items (n,); `apart` (b,) is theirs in resamples of users."""
    return Difference(float((ours - theirs).mean()), *classification.bounds(apart, drawn, level), level)


def _relative(
    ours: float, theirs: float, our_samples: Floats, their_samples: Floats, drawn: int, level: float
) -> Difference | None:
    """Candidate over champion minus one; None where the champion's is not above 0, which divides by nothing."""
    if not theirs > 0 or not (their_samples > 0).all():
        return None
    return Difference(ours / theirs - 1, *classification.bounds(our_samples / their_samples - 1, drawn, level), level)


def measure(
    truth: Ints,
    users: Ints,
    arms: Mapping[str, ArmScores],
    *,
    primary_level: float,
    level: float,
    primary: str,
    resamples: int,
    seed: int,
    holdout: str = "",
    holdout_use: int = 1,
) -> Evidence:
    """Evidence over the same items for all arms.

    `primary_level` is the one-sided level for the primary KPI's differences, `level` for every other. No items
    make evidence of nothing, scores that are no numbers make KPIs that are none: no gate passes either. What
    suites found, and whether the champion is the bare base, are put in by `dataclasses.replace`.
    """
    if len(truth) == 0 or not arms:
        return Evidence(0, 0, {}, {}, {}, holdout, holdout_use)
    drawn = int(users.max()) + 1
    statistics = {
        (name, kpi): statistic for name, scores in arms.items() for kpi, statistic in _statistics(truth, scores).items()
    }
    samples = classification.bootstrap(statistics, users, resamples, seed)
    values = {
        name: _measures(truth, scores, {kpi: found for (arm, kpi), found in samples.items() if arm == name}, drawn)
        for name, scores in arms.items()
    }
    differences: dict[str, dict[str, Difference]] = {}
    if "candidate" in arms:
        for kpi in RESAMPLED:
            at = primary_level if kpi == primary else level
            differences[kpi] = {
                other: Difference(
                    values["candidate"][kpi].value - values[other][kpi].value,
                    *classification.bounds(samples["candidate", kpi] - samples[other, kpi], drawn, at),
                    at,
                )
                for other in arms
                if other != "candidate"
            }
    size = next(iter(arms.values())).probabilities.shape[1]
    return Evidence(
        n=len(truth),
        users=drawn,
        arms=values,
        differences=differences,
        confusion={name: _confusion(truth, scores.probabilities, size) for name, scores in arms.items()},
        holdout=holdout,
        holdout_use=holdout_use,
        relative=latency({name: scores.latency_ms for name, scores in arms.items()}, level, resamples, seed),
    )


def _statistics(truth: Ints, scores: ArmScores) -> dict[str, classification.Statistic]:
    """What is resampled of an arm: its KPIs, and what is a mean over items."""
    found = {kpi: partial(_resampled, kpi, truth, scores) for kpi in RESAMPLED}
    tokens = scores.prompt_tokens.astype(np.float64)
    return found | {
        "invalid_mass": classification.mean_of(1 - scores.mass),
        "prompt_tokens": classification.mean_of(tokens),
    }


def _resampled(kpi: str, truth: Ints, scores: ArmScores, weights: Floats) -> Floats:
    if not np.isfinite(scores.probabilities).all():
        return np.full(len(weights), np.nan)
    return classification.resampled(kpi, truth, scores.probabilities, weights)


def latency(times: Mapping[str, Floats], level: float, resamples: int, seed: int) -> dict[str, Difference]:
    """The candidate's p95 latency as a share of the champion's, over the items that both were timed on (ms by arm)."""
    if not {"candidate", "champion"} <= times.keys():
        return {}
    ours, theirs = times["candidate"], times["champion"]
    count = len(ours)
    if count != len(theirs) or count == 0:
        return {}
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    ours_at, theirs_at = (float(np.percentile(arm, 95)) for arm in (ours, theirs))
    ours_drawn, theirs_drawn = (np.percentile(arm[drawn], 95, axis=1) for arm in (ours, theirs))
    found = _relative(ours_at, theirs_at, ours_drawn, theirs_drawn, count, level)
    return {} if found is None else {"p95_latency_ms": found}


def _measures(truth: Ints, scores: ArmScores, samples: Mapping[str, Floats], drawn: int) -> dict[str, Measure]:
    values = {
        kpi: function(truth, scores.probabilities) if np.isfinite(scores.probabilities).all() else math.nan
        for kpi, function in (classification.POINT | classification.plugged()).items()
    }
    values["invalid_mass"] = float(1 - scores.mass.mean())
    values["prompt_tokens"] = float(scores.prompt_tokens.mean())
    found = {
        kpi: Measure(value, *(classification.interval(samples[kpi], drawn) if kpi in samples else (math.nan, math.nan)))
        for kpi, value in values.items()
    }
    return found | latencies(scores.latency_ms)


def latencies(times: Floats) -> dict[str, Measure]:
    """p50 and p95 of times one at a time, with bounds where so few tell any; nothing of none."""
    if not len(times):
        return {}
    return {
        f"p{q}_latency_ms": Measure(float(np.percentile(times, q)), *intervals.quantile(times, q / 100))
        for q in (50, 95)
    }


def first_token(times: Floats) -> dict[str, Measure]:
    """p50 of the times to an answer's first token, one at a time; nothing of none."""
    if not len(times):
        return {}
    return {"p50_first_token_ms": Measure(float(np.median(times)), *intervals.quantile(times, 0.5))}


def _confusion(truth: Ints, probabilities: Floats, size: int) -> list[list[int]]:
    table = np.zeros((size, size), dtype=int)
    np.add.at(table, (truth, probabilities.argmax(1)), 1)
    return table.tolist()


def user_numbers(users: Sequence[str]) -> Ints:
    """Users as numbers 0..u-1."""
    return np.unique(np.array(users), return_inverse=True)[1].astype(np.int64)
