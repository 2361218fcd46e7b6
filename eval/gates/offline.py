"""The offline gate: may a candidate that was scored on held-out feedback go on?

What was not measured, or is not a number, never passes.
"""

import math

from core.settings import DEFAULT_GUARDRAILS, Guardrail, PromotionSettings
from eval.gates.label_selection import check_selection
from eval.gates.result import Check, GateResult, Outcome, combine_checks
from eval.gates.slices import check_slices
from eval.kpis.direction import Better, better
from eval.kpis.evidence import Difference, Evidence, Measure

LAST_USE = 5
# With fewer users, less than one of 10,000 resamples is beyond the bound of the last use (kpis.bounds).
LEAST_USERS = 20
LEAST_ITEMS = 30
OPPONENTS = ("base", "rag")
ARMS = {"champion": "the champion", "base": "the base model", "rag": "retrieval"}
# KPIs that may have no bound: their value is compared instead.
BARE = ("ece", "p95_latency_ms")


def spent_level(alpha: float, use: int) -> float:
    """The level for the k-th use of one holdout: α·6/(π²k²), which sums to α over all uses."""
    return alpha * 6 / (math.pi**2 * use**2)


def decide(evidence: Evidence, settings: PromotionSettings) -> GateResult:
    """Judge minimums, the primary KPI against every arm that must be beaten, and guardrails."""
    checks = [_enough(evidence, settings), *check_selection(evidence, LEAST_ITEMS), *_floors(evidence, settings)]
    others = [arm for arm in settings.must_beat if not (arm == "rag" and evidence.candidate_is_rag)]
    checks += [_primary(evidence, settings, other) for other in ("champion", *others)]
    checks += [_guardrail(evidence, guardrail) for guardrail in guardrails(evidence, settings)]
    checks += check_slices(evidence.slices, settings.slices)
    return combine_checks(checks, _passed(evidence, settings))


def guardrails(evidence: Evidence, settings: PromotionSettings) -> list[Guardrail]:
    """The guardrails of the settings, and the default ones of every other KPI that was measured."""
    named = {guardrail.kpi for guardrail in settings.guardrails}
    measured = {*evidence.suites, *evidence.arms.get("candidate", {})}
    defaults = [one for one in DEFAULT_GUARDRAILS if one.kpi in measured - named]
    return [*(one for one in settings.guardrails if not one.waived), *defaults]


def _passed(evidence: Evidence, settings: PromotionSettings) -> str:
    kpi = settings.primary.kpi
    gain = _difference(evidence, kpi, "champion") or Difference(math.nan, math.nan, math.nan, 0.0)
    reason = (
        f"{kpi} is {_apart(gain.value)} than the champion's: at least {gain.lower:+.3f}, more than "
        f"{settings.primary.min_gain:+.3f} is required, on {_counted(evidence, kpi)}"
    )
    if evidence.candidate_is_rag:
        reason += ". The candidate is the retrieval arm"
    against = ("base",) if evidence.candidate_is_rag else OPPONENTS
    waived = [arm for arm in against if arm not in settings.must_beat]
    waived += [guardrail.kpi for guardrail in settings.guardrails if guardrail.waived]
    waived += ["slices"] if settings.slices is None else []
    return f"{reason}. Waived in the settings: {', '.join(waived)}." if waived else f"{reason}."


def _counted(evidence: Evidence, kpi: str) -> str:
    """The items and users that a KPI was measured on."""
    suite = evidence.suites.get(kpi)
    if suite is not None:
        return f"{suite.n} held-out votes from {suite.users} users"
    return f"{evidence.n} held-out labels from {evidence.users} users"


def _enough(evidence: Evidence, settings: PromotionSettings) -> Check:
    outcome = Outcome.INCONCLUSIVE
    labels = evidence.confusion.get("candidate")
    # Held-out preferences judge by a suite, which counts them.
    suite = evidence.suites.get(settings.primary.kpi) if settings.primary.is_of_preferences else None
    judging = suite or evidence
    unit = "preferences" if suite else "labels"
    if not 1 <= evidence.holdout_use <= LAST_USE:
        reason = f"The holdout {evidence.holdout} was used {LAST_USE} times, which is the maximum."
    elif judging.users < LEAST_USERS or judging.n < LEAST_ITEMS:
        reason = (
            f"The holdout has {judging.n} {unit} from {judging.users} users; "
            f"a judgement needs {LEAST_ITEMS} {unit} from {LEAST_USERS} users."
        )
    elif labels is not None and sum(any(row) for row in labels) < 2:
        reason = f"All {evidence.n} labels of the holdout are the same; a judgement needs at least two classes."
    else:
        outcome = Outcome.PASS
        reason = f"{judging.n} {unit} from {judging.users} users; use {evidence.holdout_use} of {LAST_USE}."
    return Check("holdout", outcome, reason, kind="holdout")


def _floors(evidence: Evidence, settings: PromotionSettings) -> list[Check]:
    return [
        _absolute(f"floor {kpi}", kpi, _measure(evidence, kpi), floor, kind="floor")
        for kpi, floor in settings.floors.items()
    ]


def _measure(evidence: Evidence, kpi: str, arm: str = "candidate") -> Measure | None:
    found = evidence.suites.get(kpi)
    return found.arms.get(arm) if found else evidence.arms.get(arm, {}).get(kpi)


def _difference(evidence: Evidence, kpi: str, other: str) -> Difference | None:
    """The candidate's difference, or None where it was not measured or is no finite number with its bounds."""
    suite = evidence.suites.get(kpi) if other == "champion" else None
    return _finite(suite.difference if suite else evidence.differences.get(kpi, {}).get(other))


def _relative(evidence: Evidence, kpi: str) -> Difference | None:
    suite = evidence.suites.get(kpi)
    return _finite(suite.relative if suite else evidence.relative.get(kpi))


def _finite(found: Difference | None) -> Difference | None:
    if found is None or not all(map(math.isfinite, (found.value, found.lower, found.upper))):
        return None
    return found


def _primary(evidence: Evidence, settings: PromotionSettings, other: str) -> Check:
    kpi, required = settings.primary.kpi, settings.primary.min_gain
    gain, suite = _difference(evidence, kpi, other), evidence.suites.get(kpi)
    value = lower = threshold = None
    outcome = Outcome.INCONCLUSIVE
    if suite is not None and suite.missing:
        reason = f"{kpi} could not be measured: {suite.missing}."
    elif gain is None:
        waive = f" To waive this check, leave {other} out of promotion.must_beat." if other in OPPONENTS else ""
        reason = f"{kpi} could not be compared with {ARMS[other]} on this holdout.{waive}"
    else:
        value, lower, threshold = gain.value, gain.lower, required
        found = f"{kpi} is {_apart(gain.value)} than {ARMS[other]}'s"
        if gain.lower > required:
            outcome = Outcome.PASS
            reason = f"{found}: at least {gain.lower:+.3f}, more than {required:+.3f} is required."
        elif gain.upper < required:
            outcome = Outcome.FAIL
            reason = f"{found}: at most {gain.upper:+.3f}, more than {required:+.3f} is required."
        else:
            counted = f"{suite.n} votes" if suite else f"{evidence.n} labels"
            reason = (
                f"{found}, but {counted} do not rule out chance: the lower bound is {gain.lower:+.3f}, "
                f"more than {required:+.3f} is required."
            )
    return Check(f"{kpi} against {other}", outcome, reason, value, lower, threshold, "gain", kpi, other)


def _guardrail(evidence: Evidence, guardrail: Guardrail) -> Check:
    """Every limit of a guardrail must hold; the check is the one that decides."""
    name, suite = f"guardrail {guardrail.kpi}", evidence.suites.get(guardrail.kpi)
    if suite is not None and suite.missing:
        reason = f"{guardrail.kpi} could not be measured: {suite.missing}."
        return Check(name, Outcome.INCONCLUSIVE, reason, kind="missing", kpi=guardrail.kpi)
    checks = _limits(name, evidence, guardrail)
    return min(checks, key=lambda check: (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS).index(check.outcome))


def _limits(name: str, evidence: Evidence, guardrail: Guardrail) -> list[Check]:
    kpi, measured, checks = guardrail.kpi, _measure(evidence, guardrail.kpi), []
    if guardrail.max is not None:
        checks.append(_absolute(name, kpi, measured, guardrail.max, kind="max"))
    if guardrail.min is not None:
        checks.append(_absolute(name, kpi, measured, guardrail.min, kind="min"))
    if guardrail.margin is not None:
        checks.append(_margin(name, evidence, kpi, guardrail.margin))
    if guardrail.ratio is not None:
        checks.append(_ratio(name, evidence, kpi, guardrail.ratio))
    if guardrail.within is not None:
        checks.append(_within(name, kpi, _relative(evidence, kpi), guardrail.within))
    return checks


def _margin(name: str, evidence: Evidence, kpi: str, margin: float) -> Check:
    difference = _difference(evidence, kpi, "champion")
    if difference is None:
        reason = f"{kpi} was not compared with the champion's."
        return Check(name, Outcome.INCONCLUSIVE, reason, threshold=margin, kind="margin", kpi=kpi, against="champion")
    direction = _direction(evidence, kpi)
    worse, harm, least_harm = _harm(difference, direction)
    loss = {"higher": "a loss", "lower": "a rise", "same": "a difference"}[direction]
    found = f"{kpi} is {_apart(difference.value)} than the champion's"
    if harm < margin:
        outcome, reason = Outcome.PASS, f"{found}; {loss} of more than {margin:.3f} is ruled out."
    elif least_harm > margin:
        outcome = Outcome.FAIL
        reason = f"{found}: {loss} of at least {least_harm:.3f}, {margin:.3f} is accepted."
    else:
        outcome = Outcome.INCONCLUSIVE
        items = _items_needed(evidence, kpi, margin)
        reason = f"{found}; {loss} of up to {harm:.3f} is possible, {margin:.3f} is accepted.{items}"
    return Check(name, outcome, reason, worse, harm, margin, "margin", kpi, "champion")


def _direction(evidence: Evidence, kpi: str) -> Better:
    """Which way a KPI is better: a suite says it for its own KPI. Where nothing is known, no change is welcome."""
    suite = evidence.suites.get(kpi)
    return (suite.better if suite else None) or better(kpi) or "same"


def _harm(difference: Difference, direction: Better) -> tuple[float, float, float]:
    """How much worse the candidate is: as measured, at worst, at best."""
    if direction == "higher":
        return -difference.value, -difference.lower, -difference.upper
    if direction == "lower":
        return difference.value, difference.upper, difference.lower
    return (abs(difference.value), max(-difference.lower, difference.upper), max(difference.lower, -difference.upper))


def _items_needed(evidence: Evidence, kpi: str, margin: float) -> str:
    """How many items a suite needs to resolve the margin: errors shrink with the square root of n."""
    suite = evidence.suites.get(kpi)
    if suite is None or not margin > 0 or not margin < suite.resolvable < math.inf:
        return ""
    items = math.ceil(suite.n * (suite.resolvable / margin) ** 2)
    return f" The suite's {suite.n} items resolve {suite.resolvable:.3f}; it needs {items} items."


def _ratio(name: str, evidence: Evidence, kpi: str, ratio: float) -> Check:
    relative = _relative(evidence, kpi)
    value = worst = None
    outcome = Outcome.INCONCLUSIVE
    if evidence.champion_is_base:
        outcome, reason = Outcome.PASS, f"The champion is the base model, so no ratio of {kpi} is judged."
    elif relative is None:
        reason = f"{kpi} was not measured as a ratio to the champion's."
    else:
        value, worst, best = 1 + relative.value, 1 + relative.upper, 1 + relative.lower
        doubtful = Outcome.FAIL if best > ratio else Outcome.INCONCLUSIVE
        outcome = Outcome.PASS if worst <= ratio else doubtful
        reason = f"{kpi} is {value:.2f} times the champion's, at most {worst:.2f} times; {ratio:.2f} times is accepted."
    threshold = None if value is None else ratio
    return Check(name, outcome, reason, value, worst, threshold, "ratio", kpi, "champion")


def _within(name: str, kpi: str, relative: Difference | None, share: float) -> Check:
    if relative is None:
        reason = f"{kpi} was not measured as a share of the champion's."
        return Check(name, Outcome.INCONCLUSIVE, reason, kind="within", kpi=kpi, against="champion")
    furthest = max(abs(relative.lower), abs(relative.upper))
    outside = relative.lower > share or relative.upper < -share
    doubtful = Outcome.FAIL if outside else Outcome.INCONCLUSIVE
    outcome = Outcome.PASS if furthest <= share else doubtful
    reason = (
        f"{kpi} differs from the champion's by {relative.value:+.1%}, between {relative.lower:+.1%} and "
        f"{relative.upper:+.1%}; {share:.0%} either way is accepted."
    )
    return Check(name, outcome, reason, relative.value, furthest, share, "within", kpi, "champion")


def _absolute(name: str, kpi: str, measured: Measure | None, limit: float, *, kind: str) -> Check:
    """The bound of the 95% interval against a limit. A KPI of BARE has no bound; its value is compared."""
    at_least = kind in ("floor", "min")
    value = bound = None
    outcome = Outcome.INCONCLUSIVE
    if measured is None or not math.isfinite(measured.value):
        reason = f"{kpi} was not measured."
    else:
        value = measured.value
        bound, other = (measured.low, measured.high) if at_least else (measured.high, measured.low)
        word, side = ("at least", "lower") if at_least else ("at most", "upper")
        if not math.isfinite(bound) and kpi not in BARE:
            bound, reason = None, f"{kpi} is {value:.3f}, from too few users for a bound."
        else:
            limits = f"; {word} {limit:.3f} is {'required' if at_least else 'accepted'}."
            if math.isfinite(bound):
                reason = f"{kpi} is {value:.3f}, {side} bound {bound:.3f}{limits}"
            else:
                bound, other, reason = value, math.nan, f"{kpi} is {value:.3f}, compared without a bound{limits}"
            good, beyond = (bound >= limit, other < limit) if at_least else (bound <= limit, other > limit)
            doubtful = Outcome.FAIL if beyond or not math.isfinite(other) else Outcome.INCONCLUSIVE
            outcome = Outcome.PASS if good else doubtful
    return Check(name, outcome, reason, value, bound, limit, kind, kpi)


def _apart(difference: float) -> str:
    """A difference in words: `0.274 higher`."""
    return f"{abs(difference):.3f} {'lower' if difference < 0 else 'higher'}"
