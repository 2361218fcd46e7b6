"""Compute evidence from the arms' scores: values, intervals, and the candidate's paired differences."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from eval.kpis import bootstrap, classification, intervals
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, Statistic, mean_of
from eval.kpis.direction import Better
from eval.kpis.evidence import ArmScores, Difference, Evidence, Measure, SuiteEvidence
from eval.kpis.label_selection import LabelSelection

RESAMPLED = ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "brier")


def compare_outcomes(
    kpi: str,
    outcomes: Mapping[str, Floats],
    plan: BootstrapPlan,
    *,
    users: Ints | None = None,
    better: Better | None = None,
) -> SuiteEvidence:
    """Compare the arms' outcomes of the same n items: (n,) floats by arm, 0 or 1 for a share.

    Shares get Wilson's and Tango's intervals. Other outcomes get a bootstrap over items, or over `users` (n,). An
    outcome that is NaN makes the suite missing, which no gate passes.
    """
    n = min((len(values) for values in outcomes.values()), default=0)
    if n == 0 or not all(np.isfinite(values).all() for values in outcomes.values()):
        why = "it has no items" if n == 0 else "some items have no outcome"
        return SuiteEvidence(kpi, n, {}, missing=why, better=better)
    level = plan.level_of(kpi)
    shares = users is None and all(np.isin(values, (0, 1)).all() for values in outcomes.values())
    unit_of = np.arange(n) if users is None else users
    units = int(unit_of.max()) + 1
    means = bootstrap.resample({arm: mean_of(values) for arm, values in outcomes.items()}, unit_of, plan)
    arms = {
        arm: Measure(
            float(values.mean()),
            *(intervals.wilson(values.sum(), n) if shares else bootstrap.interval(means[arm], units)),
        )
        for arm, values in outcomes.items()
    }
    user_count = 0 if users is None else units
    if not {"candidate", "champion"} <= outcomes.keys():
        return SuiteEvidence(kpi, n, arms, users=user_count, better=better)
    ours, theirs = outcomes["candidate"], outcomes["champion"]
    differences = means["candidate"] - means["champion"]
    if shares:
        bounds = intervals.tango(int((ours > theirs).sum()), int((ours < theirs).sum()), n, level)
        resolvable = intervals.resolvable_difference(n, float((ours != theirs).mean()), level)
    else:
        bounds = bootstrap.bounds(differences, units, level)
        resolvable = intervals.resolvable_mean(float(differences.std()), 1, level)
    return SuiteEvidence(
        kpi,
        n,
        arms,
        Difference(float((ours - theirs).mean()), *bounds, level),
        _relative(float(ours.mean()), float(theirs.mean()), means["candidate"], means["champion"], units, level),
        resolvable,
        users=user_count,
        better=better,
    )


def difference(ours: Floats, theirs: Floats, samples: Floats, units: int, level: float) -> Difference:
    """The paired difference of two means over the same items (n,). `samples` (b,) is that difference by resample."""
    return Difference(float(np.nanmean(ours - theirs)), *bootstrap.bounds(samples, units, level), level)


def _relative(
    ours: float, theirs: float, our_samples: Floats, their_samples: Floats, units: int, level: float
) -> Difference | None:
    """Candidate over champion minus one. None unless the champion's value is above 0 in every resample."""
    if not theirs > 0 or not (their_samples > 0).all():
        return None
    return Difference(ours / theirs - 1, *bootstrap.bounds(our_samples / their_samples - 1, units, level), level)


def compare_labels(
    truth: Ints,
    users: Ints,
    arms: Mapping[str, ArmScores],
    plan: BootstrapPlan,
    *,
    holdout: str = "",
    holdout_use: int = 1,
    selection: LabelSelection | None = None,
) -> Evidence:
    """Compare the arms' label probabilities of the same items.

    A `selection` weighs the items to live traffic, for the KPIs that are resampled. Without items the evidence is
    empty. Scores that are not finite give KPIs that are NaN. No gate passes either.
    """
    if len(truth) == 0 or not arms:
        return Evidence(0, 0, {}, {}, {}, holdout, holdout_use)
    units = int(users.max()) + 1
    statistics = {
        (name, kpi): statistic for name, scores in arms.items() for kpi, statistic in _statistics(truth, scores).items()
    }
    samples = bootstrap.resample(statistics, users, plan, selection)
    values = {
        name: _measures(truth, scores, {kpi: drawn for (arm, kpi), drawn in samples.items() if arm == name}, units)
        for name, scores in arms.items()
    }
    if selection and selection.is_known:
        for (arm, kpi), statistic in statistics.items():
            values[arm][kpi] = replace(values[arm][kpi], value=float(statistic(selection.point_weights)[0]))
    differences: dict[str, dict[str, Difference]] = {}
    if "candidate" in arms:
        for kpi in RESAMPLED:
            level = plan.level_of(kpi)
            differences[kpi] = {
                other: Difference(
                    values["candidate"][kpi].value - values[other][kpi].value,
                    *bootstrap.bounds(samples["candidate", kpi] - samples[other, kpi], units, level),
                    level,
                )
                for other in arms
                if other != "candidate"
            }
    labels = next(iter(arms.values())).probabilities.shape[1]
    return Evidence(
        n=len(truth),
        users=units,
        arms=values,
        differences=differences,
        confusion={name: _confusion(truth, scores.probabilities, labels) for name, scores in arms.items()},
        holdout=holdout,
        holdout_use=holdout_use,
        selection=selection,
        relative=latency_ratio({name: scores.latency_ms for name, scores in arms.items()}, plan),
    )


def _statistics(truth: Ints, scores: ArmScores) -> dict[str, Statistic]:
    """The resampled statistics of an arm: its KPIs, and means over items."""
    kpis: dict[str, Statistic] = {kpi: partial(_resampled, kpi, truth, scores) for kpi in RESAMPLED}
    tokens = scores.prompt_tokens.astype(np.float64)
    return kpis | {"invalid_mass": mean_of(1 - scores.mass), "prompt_tokens": mean_of(tokens)}


def _resampled(kpi: str, truth: Ints, scores: ArmScores, weights: Floats) -> Floats:
    if not np.isfinite(scores.probabilities).all():
        return np.full(len(weights), np.nan)
    return classification.resampled(kpi, truth, scores.probabilities, weights)


def _measures(truth: Ints, scores: ArmScores, samples: Mapping[str, Floats], units: int) -> dict[str, Measure]:
    values = {
        kpi: function(truth, scores.probabilities) if np.isfinite(scores.probabilities).all() else math.nan
        for kpi, function in (classification.POINT | classification.plugin_kpis()).items()
    }
    values["invalid_mass"] = float(1 - scores.mass.mean())
    values["prompt_tokens"] = float(scores.prompt_tokens.mean())
    measures = {
        kpi: Measure(value, *(bootstrap.interval(samples[kpi], units) if kpi in samples else (math.nan, math.nan)))
        for kpi, value in values.items()
    }
    return measures | latencies(scores.latency_ms)


def _confusion(truth: Ints, probabilities: Floats, labels: int) -> list[list[int]]:
    table = np.zeros((labels, labels), dtype=int)
    np.add.at(table, (truth, probabilities.argmax(1)), 1)
    return table.tolist()


def latency_ratio(times: Mapping[str, Floats], plan: BootstrapPlan) -> dict[str, Difference]:
    """The candidate's p95 latency over the champion's minus one. Both were timed on the same items (ms by arm)."""
    if not {"candidate", "champion"} <= times.keys():
        return {}
    ours, theirs = times["candidate"], times["champion"]
    count = len(ours)
    if count != len(theirs) or count == 0:
        return {}
    drawn = np.random.default_rng(plan.seed).integers(0, count, (plan.resamples, count))
    our_p95, their_p95 = (float(np.percentile(arm, 95)) for arm in (ours, theirs))
    our_samples, their_samples = (np.percentile(arm[drawn], 95, axis=1) for arm in (ours, theirs))
    ratio = _relative(our_p95, their_p95, our_samples, their_samples, count, plan.level)
    return {} if ratio is None else {"p95_latency_ms": ratio}


def latencies(times: Floats) -> dict[str, Measure]:
    """p50 and p95 of latencies in ms, with bounds if there are enough of them. Empty without latencies."""
    if not len(times):
        return {}
    return {
        f"p{q}_latency_ms": Measure(float(np.percentile(times, q)), *intervals.quantile(times, q / 100))
        for q in (50, 95)
    }


def first_token_latency(times: Floats) -> dict[str, Measure]:
    """p50 of the times in ms until an answer's first token. Empty without times."""
    if not len(times):
        return {}
    return {"p50_first_token_ms": Measure(float(np.median(times)), *intervals.quantile(times, 0.5))}
