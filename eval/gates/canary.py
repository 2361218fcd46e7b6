"""The canary gate: what live, randomised traffic says of a candidate compared with the champion.

The arithmetic takes arrays of canaries as well as one. Bounds are tuned by the plan, which is written before the first
look.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from core.settings import CanarySettings
from eval.gates.live_arms import LEAST_SAMPLE_RATIO_P, ArmCounts, Plan, difference, harms, readable, vote_variance
from eval.gates.result import Check, GateResult, Outcome
from eval.gates.sequential import Found, Numbers, margin, sample_ratio_p, tuning, users_to_show

# The smallest variance and distance that a bound is tuned for. The more certain a value is, the narrower its bound.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Look:
    """A judgement with the numbers behind it: the difference, its half-width, and the line to beat."""

    judgement: GateResult
    difference: float
    half_width: float
    line: float
    harm: float
    strays: float
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
    strays: Found
    sample_ratio_p: Found
    rates_apart: Found
    rates_allowed: Found
    fewest: Found
    readable: npt.NDArray[np.bool_]
    harmed: npt.NDArray[np.bool_]
    strayed: npt.NDArray[np.bool_]
    worse: npt.NDArray[np.bool_]
    halted: npt.NDArray[np.bool_]
    better: npt.NDArray[np.bool_]
    agree: npt.NDArray[np.bool_]
    both: npt.NDArray[np.bool_]

    @property
    def cleared(self) -> npt.NDArray[np.bool_]:
        """Whether the line is cleared, and a difference in who votes cannot explain it."""
        return self.better & (self.agree | self.both)


def look(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings, *, minutes: float) -> Look:
    """One look. `wait` means the canary goes on; `fail` means roll back; `pass` means promote."""
    found = signals(control, canary, plan, settings)
    outcome = Outcome(str(outcomes(found, settings, minutes=minutes)))
    checks = _checks(found, control, canary, plan, settings)
    judgement = GateResult(outcome, _binding(outcome, checks, settings, minutes), checks)
    numbers = (found.difference, found.half_width, found.line, found.harm, found.strays, found.sample_ratio_p)
    return Look(judgement, *map(float, numbers))


def outcomes(found: Signals, settings: CanarySettings, *, minutes: Numbers) -> npt.NDArray[np.str_]:
    """The outcome of each canary. Rollback wins over everything, a broken experiment over promotion."""
    minutes = np.asarray(minutes, dtype=np.float64)
    cases = [
        (~found.readable, Outcome.INCONCLUSIVE),
        (found.harmed | found.strayed | found.worse, Outcome.FAIL),
        (found.halted, Outcome.INCONCLUSIVE),
        (found.cleared & (minutes >= settings.min_minutes), Outcome.PASS),
        (minutes >= settings.max_hours * 60, Outcome.INCONCLUSIVE),
    ]
    conditions, answers = zip(*cases, strict=True)
    return np.select(np.broadcast_arrays(*conditions), [str(one) for one in answers], str(Outcome.WAIT))


def signals(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings) -> Signals:
    """What a look sees. Before the first look only harm and a broken split speak."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        apart, half_width = difference(control, canary, plan, settings.planned_users)
        rates_apart = _rates_apart(control, canary, plan, settings)
        line, allowed = _line(control, settings), settings.rate_tolerance * np.asarray(control.rate_mean)
        found = harms(control, canary, plan, settings)
        ratio_p = sample_ratio_p(canary.users, control.users, plan.share)
        fewest = np.minimum(control.users, canary.users)
        looks = fewest >= settings.first_look_users
        return Signals(
            apart,
            half_width,
            line,
            found.harm,
            found.strays,
            ratio_p,
            rates_apart,
            allowed,
            fewest,
            readable=readable(control) & readable(canary),
            harmed=found.harmed,
            strayed=found.strayed,
            worse=looks & (apart + half_width < 0),
            halted=ratio_p < LEAST_SAMPLE_RATIO_P,
            better=looks & (apart - half_width > line),
            agree=looks & (allowed > 0) & (rates_apart <= allowed),
            both=looks & _both(control, canary, plan, settings, line),
        )


def _rates_apart(control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings) -> Found:
    """How far the feedback rates may differ, either way at level α, valid at every look like the scores' bound.

    The limit is a share of control's own rate, so control's error counts that much more (Fieller). The sequence is
    tuned for as many users as equal rates need to be shown so, by the rate and deviation of the time before.
    """
    scale = 1 + settings.rate_tolerance
    error = np.sqrt(np.square(canary.rate_sd) / canary.users + scale**2 * np.square(control.rate_sd) / control.users)
    variance = max(plan.rate_sd**2, LEAST_VARIANCE)
    rho2 = _tuned(variance, settings.rate_tolerance, plan, settings)
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
    known = plan.score_sd**2 + plan.rate_sd**2
    clear = np.asarray(rated > 0)
    for sign in (1.0, -1.0):
        ours, theirs = (vote_variance(arm, np.asarray(-sign)) for arm in (canary, control))
        variance = max(known + 2 * sign * plan.covariance, LEAST_VARIANCE)
        rho2 = _tuned(variance, 2 * settings.margin, plan, settings)
        error = np.sqrt(ours / canary.users + theirs / control.users)
        gap = np.subtract(canary.score_mean, control.score_mean) + sign * np.subtract(canary.rate_mean, rated)
        clear = clear & (gap - margin(plan.alpha, rho2, np.add(control.users, canary.users), error) > line)
    return clear


def _tuned(variance: float, tolerated: float, plan: Plan, settings: CanarySettings) -> Found:
    """ρ² of a bound on rates, for as many users as show a difference of this share of the rate, by the time before."""
    if plan.rate_mean is None:
        return tuning(plan.alpha, settings.planned_users, variance, plan.share)
    distance = max(tolerated * plan.rate_mean, LEAST_VARIANCE)
    return tuning(plan.alpha, users_to_show(plan.alpha, variance, plan.share, distance), variance, plan.share)


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


def _checks(
    found: Signals, control: ArmCounts, canary: ArmCounts, plan: Plan, settings: CanarySettings
) -> tuple[Check, ...]:
    apart, width = float(found.difference), float(found.half_width)
    early = (
        ""
        if found.fewest >= settings.first_look_users
        else f"{found.fewest:g} of the {settings.first_look_users} users that the first look needs in each arm."
    )
    harm, bound, p = float(found.harm), math.log(1 / plan.alpha), float(found.sample_ratio_p)
    return (
        Check(
            "readable",
            _either(found.readable, Outcome.INCONCLUSIVE),
            "Both arms have valid counts." if found.readable else "The counts of an arm are not numbers.",
            kind="readable",
        ),
        Check(
            "harm",
            Outcome.FAIL if found.harmed else Outcome.PASS,
            f"{canary.harmed} of {canary.users} canary users and {control.harmed} of {control.users} champion users "
            f"were harmed.{few(canary.harmed, harm >= bound, settings.harm_users)}",
            harm,
            harm,
            bound,
            "harm",
        ),
        strayed(canary, control, found, bound, settings.harm_users, ("canary", "champion")),
        Check(
            "not worse live",
            Outcome.FAIL if found.worse else Outcome.PASS,
            f"{'Worse than' if found.worse else 'Not clearly worse than'} the champion: approval differs by "
            f"{points(apart)} points (upper bound {points(apart + width)}).",
            apart,
            apart + width,
            0.0,
            "worse",
        ),
        Check(
            "sample ratio",
            Outcome.INCONCLUSIVE if found.halted else Outcome.PASS,
            f"{canary.users} users got the canary and {control.users} the champion; the planned share is "
            f"{plan.share:g} (p = {p:.4f}).",
            p,
            p,
            LEAST_SAMPLE_RATIO_P,
            "sample_ratio",
        ),
        _better(found, early, control, canary, settings),
        _rates(found, early, control, canary),
    )


def points(score: float) -> str:
    """A score difference, from −2 to +2, as points of approval: +0.48 is +24.0 points."""
    return f"{50 * score:+.1f}"


def few(users: int, evident: bool, least: int) -> str:
    """What is said when the evidence suffices and the number of users does not."""
    return f" A rollback needs {least} such users." if evident and users < least else ""


class StraySignals(Protocol):
    """What a look of either live test says of answers outside the labels."""

    @property
    def strays(self) -> Found:
        """ln of the evidence."""
        ...

    @property
    def strayed(self) -> npt.NDArray[np.bool_]:
        """Whether it is shown."""
        ...


def strayed(
    new: ArmCounts, old: ArmCounts, found: StraySignals, bound: float, least: int, words: tuple[str, str]
) -> Check:
    """The check of answers that are none of the labels; a champion that gives them too is the measure."""
    evidence = float(found.strays)
    reason = (
        f"{new.strayed} of {new.users} {words[0]} users and {old.strayed} of {old.users} {words[1]} users got "
        f"answers outside the labels.{few(new.strayed, evidence >= bound, least)}"
    )
    return Check(
        "answers outside the labels",
        Outcome.FAIL if found.strayed else Outcome.PASS,
        reason,
        evidence,
        evidence,
        bound,
        "stray_answers",
    )


def _either(good: npt.NDArray[np.bool_], otherwise: Outcome) -> Outcome:
    return Outcome.PASS if good else otherwise


def _better(found: Signals, early: str, control: ArmCounts, canary: ArmCounts, settings: CanarySettings) -> Check:
    name = "better live" if settings.strict else "not worse live than the margin"
    apart, line = float(found.difference), float(found.line)
    lower = apart - float(found.half_width)
    if early:
        return Check(name, Outcome.WAIT, early, apart, None, line, "better")
    word = "Better than" if settings.strict else "Not worse than"
    reason = (
        f"{word if found.better else f'Not yet shown: {word.lower()}'} the champion: approval differs by "
        f"{points(apart)} points (lower bound {points(lower)}, limit {points(line)}), {canary.users} canary and "
        f"{control.users} champion users."
    )
    return Check(name, _either(found.better, Outcome.WAIT), reason, apart, lower, line, "better")


def _rates(found: Signals, early: str, control: ArmCounts, canary: ArmCounts) -> Check:
    name = "feedback rates agree"
    if early:
        return Check(name, Outcome.WAIT, early)
    apart, allowed = float(found.rates_apart), float(found.rates_allowed)
    reason = (
        f"Canary users rate {canary.rate_mean:.1%} of their requests, champion users {control.rate_mean:.1%}: the "
        f"rates may differ by {apart:.3f}, {allowed:.3f} is accepted."
    )
    if found.both and not found.agree:
        reason += " Thumbs up and thumbs down each pass alone, so a difference in who votes cannot explain the result."
    return Check(name, _either(found.agree | found.both, Outcome.WAIT), reason, apart, apart, allowed)
