"""The holdback gate: what users whom the old champion kept say of the promotion, once most have the new one.

It owns one pure function from per-user numbers to a judgement, and the arithmetic beneath it, which takes arrays of
holdbacks as well as one; it must not count users itself nor switch anything. It looks for harm only: what the
promotion needed was proved before it.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.settings import HoldbackSettings
from eval.gates.canary import few, points, strayed
from eval.gates.live_arms import LEAST_SAMPLE_RATIO_P, ArmCounts, Plan, difference, harms, readable
from eval.gates.result import Check, GateResult, Outcome
from eval.gates.sequential import Found, sample_ratio_p


@dataclass(frozen=True, slots=True)
class HoldbackLook:
    """A judgement with the numbers behind it: the new champion's score minus the old one's, and its half-width."""

    judgement: GateResult
    difference: float
    half_width: float
    harm: float
    strays: float
    sample_ratio_p: float


@dataclass(frozen=True, slots=True)
class Signals:
    """The numbers of one look, and what each of them says: arrays, one element a holdback."""

    difference: Found
    half_width: Found
    harm: Found
    strays: Found
    sample_ratio_p: Found
    readable: npt.NDArray[np.bool_]
    harmed: npt.NDArray[np.bool_]
    strayed: npt.NDArray[np.bool_]
    worse: npt.NDArray[np.bool_]
    halted: npt.NDArray[np.bool_]
    compared: npt.NDArray[np.bool_]


def look_back(old: ArmCounts, new: ArmCounts, plan: Plan, settings: HoldbackSettings, *, over: bool) -> HoldbackLook:
    """One look. `fail` means roll back, `pass` that its time is over without harm, `wait` that it goes on, and
    `inconclusive` that its time is over on a broken experiment, or with too few users to compare: the new champion
    stays, and is not confirmed.

    `plan.share` is the new champion's share of users; `over` says that the configured time has passed.
    """
    found = signals(old, new, plan, settings)
    outcome = Outcome(str(outcomes(found, over=over)))
    checks = _checks(found, old, new, plan, settings, over)
    numbers = (found.difference, found.half_width, found.harm, found.strays, found.sample_ratio_p)
    return HoldbackLook(GateResult(outcome, _binding(outcome, checks), checks), *map(float, numbers))


def signals(old: ArmCounts, new: ArmCounts, plan: Plan, settings: HoldbackSettings) -> Signals:
    """What a look sees. Before the first look only harm and a broken split speak."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        apart, half_width = difference(old, new, plan, settings.planned_users)
        found = harms(old, new, plan, settings)
        ratio_p = sample_ratio_p(new.users, old.users, plan.share)
        looks = np.minimum(old.users, new.users) >= settings.first_look_users
        half_width = np.where(looks, half_width, math.inf)
        return Signals(
            apart,
            half_width,
            found.harm,
            found.strays,
            ratio_p,
            readable=readable(old) & readable(new),
            harmed=found.harmed,
            strayed=found.strayed,
            worse=looks & (apart + half_width < 0),
            halted=ratio_p < LEAST_SAMPLE_RATIO_P,
            compared=looks,
        )


def outcomes(found: Signals, *, over: bool) -> npt.NDArray[np.str_]:
    """The outcome of each holdback. Rollback wins over a broken experiment, as in a canary. But a broken one goes on
    until its time is up, because harm can still roll it back. Without a comparison nothing is confirmed."""
    back = found.readable & (found.harmed | found.strayed | found.worse)
    broken = ~found.readable | found.halted | ~found.compared
    ends = (Outcome.INCONCLUSIVE, Outcome.PASS) if over else (Outcome.WAIT, Outcome.WAIT)
    return np.where(back, str(Outcome.FAIL), np.where(broken, str(ends[0]), str(ends[1])))


def _binding(outcome: Outcome, checks: tuple[Check, ...]) -> str:
    """The sentence that binds the outcome."""
    failed, broken = (
        [check.reason for check in checks if check.outcome is one] for one in (Outcome.FAIL, Outcome.INCONCLUSIVE)
    )
    if outcome is Outcome.FAIL:
        return failed[0]
    stays = ", and the new champion stays" if outcome is Outcome.INCONCLUSIVE else ""
    return f"Nothing can be concluded{stays}: {broken[0]}" if broken else checks[-1].reason


def _checks(
    found: Signals, old: ArmCounts, new: ArmCounts, plan: Plan, settings: HoldbackSettings, over: bool
) -> tuple[Check, ...]:
    harm, bound, p = float(found.harm), math.log(1 / plan.alpha), float(found.sample_ratio_p)
    return (
        Check(
            "readable",
            Outcome.PASS if found.readable else Outcome.INCONCLUSIVE,
            "Both arms have valid counts." if found.readable else "The counts of an arm are not numbers.",
            kind="readable",
        ),
        Check(
            "harm",
            Outcome.FAIL if found.harmed else Outcome.PASS,
            f"{new.harmed} of {new.users} users of the new champion and {old.harmed} of {old.users} of the previous "
            f"champion were harmed.{few(new.harmed, harm >= bound, settings.harm_users)}",
            harm,
            harm,
            bound,
            "harm",
        ),
        strayed(new, old, found, bound, settings.harm_users, ("new champion's", "previous champion's")),
        Check(
            "sample ratio",
            Outcome.INCONCLUSIVE if found.halted else Outcome.PASS,
            f"{old.users} users got the previous champion and {new.users} the new one; the planned share is "
            f"{plan.share:g} (p = {p:.4f}).",
            p,
            p,
            LEAST_SAMPLE_RATIO_P,
            "sample_ratio",
        ),
        _worse(found, old, new, settings, over),
    )


def _worse(found: Signals, old: ArmCounts, new: ArmCounts, settings: HoldbackSettings, over: bool) -> Check:
    name, apart, width = "not worse than the previous champion", float(found.difference), float(found.half_width)
    if math.isinf(width):
        reason = (
            f"{min(old.users, new.users)} users in the smaller arm; approval is compared from "
            f"{settings.first_look_users} users on."
        )
        return Check(name, Outcome.INCONCLUSIVE if over else Outcome.PASS, reason, apart, None, 0.0, "worse")
    bounds = f"{points(apart - width)} and {points(apart + width)}"
    reason = (
        f"{'Worse' if found.worse else 'Not clearly worse'} than the previous champion: approval differs by "
        f"{points(apart)} points (bounds {bounds}), {new.users} users of the new champion and {old.users} of the "
        "previous one."
    )
    return Check(name, Outcome.FAIL if found.worse else Outcome.PASS, reason, apart, apart + width, 0.0, "worse")
