"""Compare a candidate with the anchor as well as the champion, so that small losses do not add up over promotions.

The anchor is the last champion that was proven better than the anchor before it, or that a person chose. Each
promotion may lose up to the margin against the champion. The comparison with the anchor limits what all of them lose.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from core.settings import CanarySettings
from eval.gates.canary import Look, Signals, look, points, signals
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.result import Check, GateResult, Outcome
from eval.gates.sequential import Numbers


@dataclass(frozen=True, slots=True)
class AnchorArm:
    """The arm that gets the anchor: its name for sentences, its counts, and the plan of its comparison.

    `plan.share` is the candidate's share of the users of these two arms.
    """

    name: str
    counts: ArmCounts
    plan: Plan


@dataclass(frozen=True, slots=True)
class AnchorLook:
    """What a look says of the anchor: the difference of the candidate to it with the half-width, on the scale from −1
    to +1, and whether the candidate is proven better than the anchor."""

    difference: float
    half_width: float
    line: float
    is_better: bool

    @property
    def lower(self) -> float:
        """The lower bound of the difference."""
        return self.difference - self.half_width


def anchor_share(share: float) -> float:
    """The share of users that the anchor gets, by the candidate's: the same, and never more than the champion's."""
    return min(share, (1 - share) / 2)


def shares_compared(share: float) -> tuple[float, float]:
    """The candidate's share of the users of two arms: candidate and champion, candidate and anchor."""
    anchor = anchor_share(share)
    return share / (1 - anchor), share / (share + anchor)


def better_than_anchor(
    anchor: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings
) -> npt.NDArray[np.bool_]:
    """Whether each candidate is proven better than the anchor: it would pass with `strict`."""
    return signals(anchor, canary, plan, settings.model_copy(update={"strict": True})).cleared


def outcomes_with_anchor(
    said: npt.NDArray[np.str_], against: Signals, settings: CanarySettings, *, minutes: Numbers
) -> npt.NDArray[np.str_]:
    """The outcome of each canary that serves the anchor too. `said` is the outcome against the champion alone.

    Only a pass depends on the anchor. It waits until the candidate is within the margin of the anchor, at most until
    the time limit.
    """
    passed, late = np.asarray(said) == Outcome.PASS, np.asarray(minutes) >= settings.max_hours * 60
    broken = ~against.readable | against.halted
    held_up = np.where(broken | (late & ~against.cleared), str(Outcome.INCONCLUSIVE), str(Outcome.WAIT))
    return np.where(passed & (broken | ~against.cleared), held_up, said)


def look_at_all(
    control: ArmCounts,
    canary: ArmCounts,
    plan: Plan,
    settings: CanarySettings,
    *,
    minutes: float,
    anchor: AnchorArm | None = None,
) -> tuple[Look, AnchorLook]:
    """One look of a canary.

    `anchor` is None where no user gets the anchor: the champion is the anchor itself, or the settings have `strict`,
    with which each candidate must be better than its champion.
    """
    found = look(control, canary, plan, settings, minutes=minutes)
    if anchor is None:
        is_better = bool(better_than_anchor(control, canary, plan, settings))
        return found, AnchorLook(found.difference, found.half_width, found.line, is_better)
    against = signals(anchor.counts, canary, anchor.plan, settings)
    said = np.asarray(str(found.judgement.outcome))
    outcome = Outcome(str(outcomes_with_anchor(said, against, settings, minutes=minutes)))
    check = _check(anchor, canary, against, settings)
    judged = found.judgement
    reason = judged.reason
    if judged.outcome is Outcome.PASS:
        limit = f"No answer within {settings.max_hours:g} h: "
        before = {Outcome.PASS: f"{reason} ", Outcome.INCONCLUSIVE: "" if _is_broken(against) else limit}
        reason = before.get(outcome, "") + check.reason
    apart, width, line = map(float, (against.difference, against.half_width, against.line))
    is_better = bool(better_than_anchor(anchor.counts, canary, anchor.plan, settings))
    judgement = GateResult(outcome, reason, (*judged.checks, check))
    return replace(found, judgement=judgement), AnchorLook(apart, width, line, is_better)


def _is_broken(against: Signals) -> bool:
    return bool(~against.readable | against.halted)


def _check(anchor: AnchorArm, canary: ArmCounts, against: Signals, settings: CanarySettings) -> Check:
    apart, width, line = map(float, (against.difference, against.half_width, against.line))
    lower, users = apart - width, f"{canary.users} canary and {anchor.counts.users} anchor users"
    early = against.fewest < settings.first_look_users
    if not against.readable:
        outcome, reason = Outcome.INCONCLUSIVE, f"The counts of the anchor {anchor.name} are not numbers."
    elif against.halted:
        outcome = Outcome.INCONCLUSIVE
        reason = f"{users}: the planned share is {anchor.plan.share:g} (p = {float(against.sample_ratio_p):.4f})."
    elif early:
        outcome = Outcome.WAIT
        reason = (
            f"{int(against.fewest)} of the {settings.first_look_users} users that the first look needs, of the anchor "
            f"{anchor.name} and of the canary."
        )
    else:
        outcome = Outcome.PASS if against.cleared else Outcome.WAIT
        word = "Not worse than" if against.better else "Not yet shown: not worse than"
        reason = (
            f"{word} the anchor {anchor.name}: approval differs by {points(apart)} points (lower bound "
            f"{points(lower)}, limit {points(line)}), {users}."
        )
        if against.better and not against.cleared:
            reason += (
                f" Not yet shown: the same share of votes. Canary users rate {canary.rate_mean:.1%} of their requests, "
                f"anchor users {anchor.counts.rate_mean:.1%}."
            )
    bound = None if early else lower
    return Check("not worse than the anchor", outcome, reason, apart, bound, line, "anchor", against="anchor")
