"""The holdback gate: what users whom the old champion kept say of the promotion, once most have the new one.

It owns one pure function from per-user numbers to a judgement; it must not count users itself nor switch
anything. It looks for harm only: what the promotion needed was proved before it.
"""

import math
from dataclasses import dataclass

from core.settings import HoldbackSettings
from eval.canary import LEAST_SAMPLE_RATIO_P, ArmCounts, Plan
from eval.judgement import Check, Judgement, Outcome
from eval.sequential import harm_evidence, margin, sample_ratio_p, tuning


@dataclass(frozen=True, slots=True)
class HoldbackLook:
    """A judgement with the numbers behind it: the new champion's score minus the old one's, and its half-width."""

    judgement: Judgement
    difference: float
    half_width: float
    harm: float
    sample_ratio_p: float


def look_back(old: ArmCounts, new: ArmCounts, plan: Plan, settings: HoldbackSettings, *, over: bool) -> HoldbackLook:
    """One look. `fail` means roll back, `pass` that its time is over without harm, `wait` that it goes on.

    `plan.share` is the new champion's share of users; `over` says that the configured time has passed. Users who
    do not fall as planned make every comparison worthless: then nothing is concluded from one.
    """
    difference = new.score_mean - old.score_mean
    width = _half_width(old, new, plan, settings)
    harm = float(harm_evidence(new.harmed, old.harmed, plan.share, settings.harm_ratio))
    ratio_p = float(sample_ratio_p(new.users, old.users, plan.share))
    checks = (
        _sample_ratio(old, new, plan, ratio_p),
        _harm(old, new, harm, plan.alpha),
        _worse(old, new, difference, width, settings),
    )
    return HoldbackLook(_judge(checks, over), difference, width, harm, ratio_p)


def _judge(checks: tuple[Check, Check, Check], over: bool) -> Judgement:
    ratio, *harms = checks
    broken = ratio.outcome is Outcome.INCONCLUSIVE
    found = None if broken else next((check for check in harms if check.outcome is Outcome.FAIL), None)
    if found:
        return Judgement(Outcome.FAIL, found.reason, checks)
    said = f"Nothing can be concluded: {ratio.reason}" if broken else harms[-1].reason
    return Judgement(Outcome.PASS if over else Outcome.WAIT, said, checks)


def _half_width(old: ArmCounts, new: ArmCounts, plan: Plan, settings: HoldbackSettings) -> float:
    if min(old.users, new.users) < settings.first_look_users:
        return math.inf
    error = math.sqrt(old.score_sd**2 / old.users + new.score_sd**2 / new.users)
    rho2 = tuning(plan.alpha, settings.planned_users, plan.score_sd**2, plan.share)
    return float(margin(plan.alpha, rho2, old.users + new.users, error))


def _sample_ratio(old: ArmCounts, new: ArmCounts, plan: Plan, p: float) -> Check:
    outcome = Outcome.INCONCLUSIVE if p < LEAST_SAMPLE_RATIO_P else Outcome.PASS
    reason = f"{old.users} users on the old champion, {new.users} on the new, planned share {plan.share:g} (p {p:.4f})."
    return Check("sample ratio", outcome, reason, p, p, LEAST_SAMPLE_RATIO_P)


def _harm(old: ArmCounts, new: ArmCounts, evidence: float, alpha: float) -> Check:
    bound = math.log(1 / alpha)
    outcome = Outcome.FAIL if evidence >= bound else Outcome.PASS
    reason = (
        f"{new.harmed} of {new.users} users of the new champion were harmed, {old.harmed} of {old.users} of the old."
    )
    return Check("harm", outcome, reason, evidence, evidence, bound)


def _worse(old: ArmCounts, new: ArmCounts, difference: float, width: float, settings: HoldbackSettings) -> Check:
    name = "not worse than the old champion"
    if math.isinf(width):
        reason = (
            f"{min(old.users, new.users)} users in the smaller arm; scores are compared from "
            f"{settings.first_look_users} on."
        )
        return Check(name, Outcome.PASS, reason, difference, None, 0.0)
    upper = difference + width
    outcome = Outcome.FAIL if upper < 0 else Outcome.PASS
    reason = (
        f"Live score {difference:+.3f}, upper bound {upper:+.3f}, on {new.users} users of the new champion and "
        f"{old.users} of the old."
    )
    return Check(name, outcome, reason, difference, upper, 0.0)
