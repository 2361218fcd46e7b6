"""The canary gate: what live, randomised traffic says of a candidate beside the champion.

It owns one pure function from per-user numbers to a judgement; it must not count users itself nor switch
anything. Scores are −1, 0 or +1 a request with no feedback as 0, averaged by user: judging only rated
answers would undo the randomisation.
"""

import math
from dataclasses import dataclass

from core.settings import CanarySettings
from eval.judgement import Check, Judgement, Outcome
from eval.sequential import harm_evidence, margin, sample_ratio_p, tuning

LEAST_SAMPLE_RATIO_P = 0.001
RATE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """One arm so far: users, their mean score with its deviation, and how many users gave feedback.

    `score_mean`, `score_sd` are over users' means; `rate_mean`, `rate_sd` over users' shares of rated
    requests; `harmed` counts users with at least one harm (an error, a flag).
    """

    users: int
    requests: int
    score_mean: float
    score_sd: float
    rate_mean: float
    rate_sd: float
    harmed: int


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


def look(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings, *, minutes: float) -> Look:
    """One look. `wait` means the canary goes on; `fail` means roll back; `pass` means promote."""
    difference = canary.score_mean - control.score_mean
    width, line = _half_width(control, canary, plan, settings), _line(control, settings)
    harm = harm_evidence(canary.harmed, control.harmed, plan.share, settings.harm_ratio)
    ratio_p = sample_ratio_p(canary.users, control.users, plan.share)
    checks = (
        _harm(control, canary, harm, plan.alpha),
        _worse(difference, width, control, canary, settings),
        _sample_ratio(canary, control, plan, ratio_p),
        _better(difference, width, line, control, canary, settings),
        _rates(control, canary, settings),
    )
    return Look(_judge(checks, settings, minutes), difference, width, line, harm, ratio_p)


def _judge(checks: tuple[Check, ...], settings: CanarySettings, minutes: float) -> Judgement:
    harm, worse, ratio, better, rates = checks
    for check in (harm, worse, ratio):  # rollback wins over everything, a broken experiment over promotion
        if check.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
            return Judgement(check.outcome, check.reason, checks)
    ready = better.outcome is Outcome.PASS and rates.outcome is Outcome.PASS
    if ready and minutes >= settings.min_minutes:
        return Judgement(Outcome.PASS, better.reason, checks)
    if minutes >= settings.max_hours * 60:
        open_check = better if better.outcome is not Outcome.PASS else rates
        reason = f"No answer within {settings.max_hours:g} h: {open_check.reason}"
        return Judgement(Outcome.INCONCLUSIVE, reason, checks)
    if ready:
        return Judgement(Outcome.WAIT, f"{better.reason} Waits for {settings.min_minutes:g} minutes.", checks)
    waiting = better if better.outcome is not Outcome.PASS else rates
    return Judgement(Outcome.WAIT, waiting.reason, checks)


def _half_width(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings) -> float:
    if min(control.users, canary.users) < 2:
        return math.inf
    error = math.sqrt(control.score_sd**2 / control.users + canary.score_sd**2 / canary.users)
    rho2 = tuning(plan.alpha, settings.planned_users, plan.score_sd**2, plan.share)
    return margin(plan.alpha, rho2, control.users + canary.users, error)


def _line(control: ArmCounts, settings: CanarySettings) -> float:
    # A margin in approval is twice as wide in scores from −1 to +1, and only rated requests can move it.
    return 0.0 if settings.strict else -2 * control.rate_mean * settings.margin


def _early(control: ArmCounts, canary: ArmCounts, settings: CanarySettings) -> str:
    fewest = min(control.users, canary.users)
    if fewest >= settings.first_look_users:
        return ""
    return f"{fewest} of {settings.first_look_users} users in the smaller arm before the first look."


def _harm(control: ArmCounts, canary: ArmCounts, evidence: float, alpha: float) -> Check:
    bound = math.log(1 / alpha)
    fired = evidence >= bound
    reason = (
        f"{canary.harmed} of {canary.users} canary users were harmed, {control.harmed} of {control.users} control users"
    )
    return Check("harm", Outcome.FAIL if fired else Outcome.PASS, reason + ".", evidence, evidence, bound)


def _worse(difference: float, width: float, control: ArmCounts, canary: ArmCounts, settings: CanarySettings) -> Check:
    shown = not _early(control, canary, settings) and difference + width < 0
    reason = f"Live score {difference:+.3f}, upper bound {difference + width:+.3f}: worse than the champion."
    return Check("not worse live", Outcome.FAIL if shown else Outcome.PASS, reason, difference, difference + width, 0.0)


def _sample_ratio(canary: ArmCounts, control: ArmCounts, plan: Plan, p: float) -> Check:
    halted = p < LEAST_SAMPLE_RATIO_P
    reason = (
        f"{canary.users} users on the canary, {control.users} on the champion, planned share {plan.share:g} (p {p:.4f})"
    )
    outcome = Outcome.INCONCLUSIVE if halted else Outcome.PASS
    return Check("sample ratio", outcome, reason + ".", p, p, LEAST_SAMPLE_RATIO_P)


def _better(difference: float, width: float, line: float, control: ArmCounts, canary: ArmCounts,
            settings: CanarySettings) -> Check:  # fmt: skip
    name = "better live" if settings.strict else "not worse live than the margin"
    early = _early(control, canary, settings)
    if early:
        return Check(name, Outcome.WAIT, early, difference, None, line)
    lower = difference - width
    reason = (
        f"Live score {difference:+.3f}, lower bound {lower:+.3f} against {line:+.3f}, "
        f"on {canary.users} canary and {control.users} champion users."
    )
    return Check(name, Outcome.PASS if lower > line else Outcome.WAIT, reason, difference, lower, line)


def _rates(control: ArmCounts, canary: ArmCounts, settings: CanarySettings) -> Check:
    """The arms' feedback rates must agree: two-sided 95 % bound within ±5 % of control's."""
    name = "feedback rates agree"
    if _early(control, canary, settings):
        return Check(name, Outcome.WAIT, _early(control, canary, settings))
    error = math.sqrt(control.rate_sd**2 / control.users + canary.rate_sd**2 / canary.users)
    apart = abs(canary.rate_mean - control.rate_mean) + 1.959964 * error
    allowed = RATE_TOLERANCE * control.rate_mean
    reason = (
        f"Feedback rates {canary.rate_mean:.3f} (canary) and {control.rate_mean:.3f}: may differ by {apart:.3f}, "
        f"accepted {allowed:.3f}."
    )
    return Check(name, Outcome.PASS if apart <= allowed else Outcome.WAIT, reason, apart, apart, allowed)
