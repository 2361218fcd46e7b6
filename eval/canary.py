"""The canary gate: what live, randomised traffic says of a candidate beside the champion.

It owns one pure function from per-user numbers to a judgement, and the arithmetic beneath it, which takes arrays
of canaries as well as one; it must not count users itself nor switch anything. Scores are −1, 0 or +1 a request
with no feedback as 0, averaged by user: judging only rated answers would undo the randomisation.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from core.settings import CanarySettings
from eval.judgement import Check, Judgement, Outcome
from eval.sequential import Found, Numbers, harm_evidence, margin, sample_ratio_p, tuning, users_to_show

LEAST_SAMPLE_RATIO_P = 0.001
# The variance that a rate without any is tuned for: it makes the bound as narrow as it is certain.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """One arm so far: users, their mean score with its deviation, and how many of their requests they rated.

    `score_mean`, `score_sd` are over users' means; `rate_mean`, `rate_sd` over users' shares of rated requests,
    `covariance` between the two; `harmed` counts users with at least one harm (an error, a flag); `vote_cap` is the
    share of rated requests above which nobody's votes weigh more. In a benchmark each is an array, one a canary.
    """

    users: int
    requests: int
    score_mean: float
    score_sd: float
    rate_mean: float
    rate_sd: float
    harmed: int
    covariance: float = 0.0
    vote_cap: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed before the first look: share, and the deviation of users' scores before the canary."""

    share: float
    score_sd: float
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class Look:
    """A judgement with the numbers behind it: the difference, its half-width, and the line to beat."""

    judgement: Judgement
    difference: float
    half_width: float
    line: float
    harm: float
    sample_ratio_p: float


@dataclass(frozen=True, slots=True)
class Signals:
    """The numbers of one look, and what each of them says: arrays, one element a canary.

    `rates_apart` is how far the arms' feedback rates may be apart, `rates_allowed` how far they are allowed to be;
    `both` says that votes up and votes down each clear the line, which no change in who votes explains.
    """

    difference: Found
    half_width: Found
    line: Found
    harm: Found
    sample_ratio_p: Found
    rates_apart: Found
    rates_allowed: Found
    fewest: Found
    readable: npt.NDArray[np.bool_]
    harmed: npt.NDArray[np.bool_]
    worse: npt.NDArray[np.bool_]
    halted: npt.NDArray[np.bool_]
    better: npt.NDArray[np.bool_]
    agree: npt.NDArray[np.bool_]
    both: npt.NDArray[np.bool_]


def look(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings, *, minutes: float) -> Look:
    """One look. `wait` means the canary goes on; `fail` means roll back; `pass` means promote."""
    found = signals(control, canary, plan, settings)
    outcome = Outcome(str(outcomes(found, settings, minutes=minutes)))
    checks = _checks(found, control, canary, plan, settings)
    judgement = Judgement(outcome, _binding(outcome, checks, settings, minutes), checks)
    numbers = (found.difference, found.half_width, found.line, found.harm, found.sample_ratio_p)
    return Look(judgement, *map(float, numbers))


def outcomes(found: Signals, settings: CanarySettings, *, minutes: Numbers) -> npt.NDArray[np.str_]:
    """The outcome of each canary. Rollback wins over everything, a broken experiment over promotion."""
    minutes = np.asarray(minutes, dtype=np.float64)
    cases = [
        (~found.readable, Outcome.INCONCLUSIVE),
        (found.harmed | found.worse, Outcome.FAIL),
        (found.halted, Outcome.INCONCLUSIVE),
        (found.better & (found.agree | found.both) & (minutes >= settings.min_minutes), Outcome.PASS),
        (minutes >= settings.max_hours * 60, Outcome.INCONCLUSIVE),
    ]
    conditions, answers = zip(*cases, strict=True)
    return np.select(np.broadcast_arrays(*conditions), [str(one) for one in answers], str(Outcome.WAIT))


def signals(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings) -> Signals:
    """What a look sees. Before the first look only harm and a broken split speak."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference, half_width = _difference(control, canary, plan, settings)
        apart = _rates_apart(control, canary, plan, settings)
        line, allowed = _line(control, settings), settings.rate_tolerance * np.asarray(control.rate_mean)
        harm = harm_evidence(canary.harmed, control.harmed, plan.share, settings.harm_ratio)
        ratio_p = sample_ratio_p(canary.users, control.users, plan.share)
        fewest = np.minimum(control.users, canary.users)
        looks = fewest >= settings.first_look_users
        return Signals(
            difference, half_width, line, harm, ratio_p, apart, allowed, fewest,
            readable=_readable(control) & _readable(canary),
            harmed=harm >= math.log(1 / plan.alpha),
            worse=looks & (difference + half_width < 0),
            halted=ratio_p < LEAST_SAMPLE_RATIO_P,
            better=looks & (difference - half_width > line),
            agree=looks & (allowed > 0) & (apart <= allowed),
            both=looks & _both(control, canary, plan, settings, line),
        )  # fmt: skip


def _readable(arm: ArmCounts) -> npt.NDArray[np.bool_]:
    """Whether the counts are finite and possible."""
    sane = np.logical_and.reduce([np.isfinite(getattr(arm, field.name)) for field in fields(arm)])
    sane &= (np.abs(arm.score_mean) <= 1) & (np.asarray(arm.rate_mean) >= 0) & (np.asarray(arm.rate_mean) <= 1)
    return sane & (np.minimum(arm.score_sd, arm.rate_sd) >= 0) & (np.asarray(arm.harmed) <= arm.users)


def _difference(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings) -> tuple[Found, Found]:
    """The canary's score above what control's approval makes of the canary's votes, and its half-width.

    Each vote counts from the mean vote m of control, so that voting more often is neither good nor bad: the
    difference is mean_T(s) − m·mean_T(r), which is mean_T(s) − mean_C(s) where both arms vote equally often. Its
    error is the delta method's: m comes from control, whose part is scaled by the ratio of the rates.
    """
    rated = np.asarray(control.rate_mean, dtype=np.float64)
    mean_vote = np.where(rated > 0, control.score_mean / np.where(rated > 0, rated, 1), 0.0)
    ratio = np.where(rated > 0, canary.rate_mean / np.where(rated > 0, rated, 1), 1.0)
    error = np.sqrt(
        _vote_variance(canary, mean_vote) / canary.users + ratio**2 * _vote_variance(control, mean_vote) / control.users
    )
    rho2 = tuning(plan.alpha, settings.planned_users, plan.score_sd**2, plan.share)
    half_width = margin(plan.alpha, rho2, np.add(control.users, canary.users), error)
    enough = np.minimum(control.users, canary.users) >= 2
    difference = canary.score_mean - mean_vote * np.where(rated > 0, canary.rate_mean, 0.0)
    return difference, np.where(enough, half_width, math.inf)


def _vote_variance(arm: ArmCounts, mean_vote: Found) -> Found:
    variance = np.square(arm.score_sd) - 2 * mean_vote * arm.covariance + np.square(mean_vote * arm.rate_sd)
    return np.maximum(variance, 0.0)


def _rates_apart(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings) -> Found:
    """How far the feedback rates may differ, either way at level α, valid at every look like the scores' bound.

    The limit is a share of control's own rate, so control's error counts that much more (Fieller). The sequence is
    tuned for as many users as equal rates need to be shown so, by control's rate and deviation as they are found:
    nothing before the canary is known of them.
    """
    scale = 1 + settings.rate_tolerance
    error = np.sqrt(np.square(canary.rate_sd) / canary.users + scale**2 * np.square(control.rate_sd) / control.users)
    variance = np.maximum(np.square(control.rate_sd), LEAST_VARIANCE)
    allowed = np.maximum(settings.rate_tolerance * np.asarray(control.rate_mean), LEAST_VARIANCE)
    planned = users_to_show(plan.alpha, variance, plan.share, allowed)
    rho2 = tuning(plan.alpha, planned, variance, plan.share)
    width = margin(plan.alpha, rho2, np.add(control.users, canary.users), error)
    enough = np.minimum(control.users, canary.users) >= 2
    return np.where(enough, np.abs(np.subtract(canary.rate_mean, control.rate_mean)) + width, math.inf)


def _both(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings, line: Found) -> Found:
    """Whether votes up are not rarer, and votes down not more frequent, than the line allows.

    Rates need not agree then: more votes of the happy alone leave votes down as they were, fewer of the unhappy leave
    votes up as they were. These are the worst cases of Lee, "Training, wages, and sample selection", 2009. Votes up
    are (r + s)/2 and down (r − s)/2 of users' rates and scores, so that both lines are the scores' own.
    """
    rated = np.asarray(control.rate_mean, dtype=np.float64)
    distance = np.maximum(2 * rated * settings.margin, LEAST_VARIANCE)
    clear = np.asarray(rated > 0)
    for sign in (1.0, -1.0):
        ours, theirs = (_vote_variance(arm, np.asarray(-sign)) for arm in (canary, control))
        variance = np.maximum(theirs, LEAST_VARIANCE)
        rho2 = tuning(plan.alpha, users_to_show(plan.alpha, variance, plan.share, distance), variance, plan.share)
        error = np.sqrt(ours / canary.users + theirs / control.users)
        gap = np.subtract(canary.score_mean, control.score_mean) + sign * np.subtract(canary.rate_mean, rated)
        clear = clear & (gap - margin(plan.alpha, rho2, np.add(control.users, canary.users), error) > line)
    return clear


def _line(control: ArmCounts, settings: CanarySettings) -> Found:
    """What the lower bound must exceed.

    A margin in approval is twice as wide in scores from −1 to +1, and only rated requests can move it. Users who
    vote to order can lift the canary and lower control by their share times twice the cap on anybody's votes.
    """
    hostile = 2 * settings.hostile_share * np.asarray(control.vote_cap, dtype=np.float64)
    return hostile if settings.strict else hostile - 2 * np.asarray(control.rate_mean) * settings.margin


def _binding(outcome: Outcome, checks: tuple[Check, ...], settings: CanarySettings, minutes: float) -> str:
    """The sentence that binds the outcome."""
    *stops, better, rates = checks
    for check in stops:
        if check.outcome is outcome is not Outcome.PASS:
            return check.reason
    waiting = better if better.outcome is not Outcome.PASS else rates
    if outcome is Outcome.INCONCLUSIVE:
        return f"No answer within {settings.max_hours:g} h: {waiting.reason}"
    if outcome is Outcome.WAIT and rates.outcome is better.outcome is Outcome.PASS:
        return f"{better.reason} Waits for {settings.min_minutes:g} minutes."
    return waiting.reason if outcome is Outcome.WAIT else better.reason


def _checks(found: Signals, control: ArmCounts, canary: ArmCounts, plan: Plan,
            settings: CanarySettings) -> tuple[Check, ...]:  # fmt: skip
    difference, width = float(found.difference), float(found.half_width)
    early = "" if found.fewest >= settings.first_look_users else (
        f"{found.fewest:g} of {settings.first_look_users} users in the smaller arm before the first look."
    )  # fmt: skip
    harm, bound, p = float(found.harm), math.log(1 / plan.alpha), float(found.sample_ratio_p)
    return (
        Check("readable", _either(found.readable, Outcome.INCONCLUSIVE), "The counts of an arm are no numbers."),
        Check("harm", Outcome.FAIL if found.harmed else Outcome.PASS,
              f"{canary.harmed} of {canary.users} canary users were harmed, {control.harmed} of {control.users} "
              f"control users.", harm, harm, bound),
        Check("not worse live", Outcome.FAIL if found.worse else Outcome.PASS,
              f"Live score {difference:+.3f}, upper bound {difference + width:+.3f}: worse than the champion.",
              difference, difference + width, 0.0),
        Check("sample ratio", Outcome.INCONCLUSIVE if found.halted else Outcome.PASS,
              f"{canary.users} users on the canary, {control.users} on the champion, planned share "
              f"{plan.share:g} (p {p:.4f}).", p, p, LEAST_SAMPLE_RATIO_P),
        _better(found, early, control, canary, settings),
        _rates(found, early, control, canary),
    )  # fmt: skip


def _either(good: npt.NDArray[np.bool_], otherwise: Outcome) -> Outcome:
    return Outcome.PASS if good else otherwise


def _better(found: Signals, early: str, control: ArmCounts, canary: ArmCounts, settings: CanarySettings) -> Check:
    name = "better live" if settings.strict else "not worse live than the margin"
    difference, line = float(found.difference), float(found.line)
    lower = difference - float(found.half_width)
    if early:
        return Check(name, Outcome.WAIT, early, difference, None, line)
    reason = (
        f"Live score {difference:+.3f}, lower bound {lower:+.3f} against {line:+.3f}, "
        f"on {canary.users} canary and {control.users} champion users."
    )
    return Check(name, _either(found.better, Outcome.WAIT), reason, difference, lower, line)


def _rates(found: Signals, early: str, control: ArmCounts, canary: ArmCounts) -> Check:
    name = "feedback rates agree"
    if early:
        return Check(name, Outcome.WAIT, early)
    apart, allowed = float(found.rates_apart), float(found.rates_allowed)
    reason = (
        f"Feedback rates {canary.rate_mean:.3f} (canary) and {control.rate_mean:.3f}: may differ by {apart:.3f}, "
        f"accepted {allowed:.3f}."
    )
    if found.both and not found.agree:
        reason += " Votes up and votes down each clear the line, which who votes does not explain."
    return Check(name, _either(found.agree | found.both, Outcome.WAIT), reason, apart, apart, allowed)
