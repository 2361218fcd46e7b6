"""The offline gate: may a candidate that was scored on held-out feedback go on?

It owns one pure function from evidence and settings to a judgement with reasons; it touches nothing. What was
not measured, or is not a number, never passes.
"""

import math

from core.settings import DEFAULT_GUARDRAILS, Guardrail, PromotionSettings
from eval.gates.result import Check, GateResult, Outcome, combine_checks
from eval.kpis.classification import Better, better
from eval.kpis.evidence import Difference, Evidence, Measure

LAST_USE = 5
# Fewer, and of 10,000 resamples less than one lies beyond the bound of the last use (kpis.bounds).
LEAST_USERS = 20
LEAST_ITEMS = 30
OPPONENTS = ("base", "rag")
# KPIs that have no bound, or may have none: their value is compared as it is where there is no other.
BARE = ("ece", "p95_latency_ms")


def spent_level(alpha: float, use: int) -> float:
    """The level for the k-th use of one holdout: α·6/(π²k²), which sums to α over all uses."""
    return alpha * 6 / (math.pi**2 * use**2)


def decide(evidence: Evidence, settings: PromotionSettings) -> GateResult:
    """Floors, the primary KPI against every arm that must be beaten, guardrails."""
    checks = [_enough(evidence), *_floors(evidence, settings)]
    others = [arm for arm in settings.must_beat if not (arm == "rag" and evidence.candidate_is_rag)]
    checks += [_primary(evidence, settings, other) for other in ("champion", *others)]
    checks += [_guardrail(evidence, guardrail) for guardrail in guardrails(evidence, settings)]
    return combine_checks(checks, _passed(evidence, settings))


def guardrails(evidence: Evidence, settings: PromotionSettings) -> list[Guardrail]:
    """Those of the settings, and each default of another KPI that this evaluation was to measure."""
    named = {guardrail.kpi for guardrail in settings.guardrails}
    measured = {*evidence.suites, *evidence.arms.get("candidate", {})}
    defaults = [one for one in DEFAULT_GUARDRAILS if one.kpi in measured - named]
    return [*(one for one in settings.guardrails if not one.waived), *defaults]


def _passed(evidence: Evidence, settings: PromotionSettings) -> str:
    gain = _difference(evidence, settings.primary.kpi, "champion") or Difference(math.nan, math.nan, math.nan, 0.0)
    reason = (
        f"{settings.primary.kpi} {_signed(gain.value)} against the champion (lower bound {_signed(gain.lower)}, "
        f"needs more than {_signed(settings.primary.min_gain)}) on {_counted(evidence, settings.primary.kpi)}"
    )
    if evidence.candidate_is_rag:
        reason += "; the candidate is the RAG arm itself"
    against = ("base",) if evidence.candidate_is_rag else OPPONENTS
    waived = [arm for arm in against if arm not in settings.must_beat]
    waived += [guardrail.kpi for guardrail in settings.guardrails if guardrail.waived]
    return f"{reason}; waived in the settings: {', '.join(waived)}." if waived else f"{reason}."


def _counted(evidence: Evidence, kpi: str) -> str:
    """What a KPI was measured on."""
    suite = evidence.suites.get(kpi)
    if suite is not None:
        return f"{suite.n} held-out votes of {suite.users} users"
    return f"{evidence.n} held-out labels of {evidence.users} users"


def _enough(evidence: Evidence) -> Check:
    name = "holdout"
    if not 1 <= evidence.holdout_use <= LAST_USE:
        reason = f"The holdout {evidence.holdout} was asked {LAST_USE} times already and is spent."
        return Check(name, Outcome.INCONCLUSIVE, reason)
    if evidence.users < LEAST_USERS or evidence.n < LEAST_ITEMS:
        reason = (
            f"The holdout has {evidence.n} labels of {evidence.users} users; "
            f"a judgement wants {LEAST_ITEMS} of {LEAST_USERS}."
        )
        return Check(name, Outcome.INCONCLUSIVE, reason)
    labels = evidence.confusion.get("candidate")
    if labels is not None and sum(any(row) for row in labels) < 2:
        reason = f"All {evidence.n} labels of the holdout are the same; one class tells nothing of telling apart."
        return Check(name, Outcome.INCONCLUSIVE, reason)
    return Check(name, Outcome.PASS, f"{evidence.n} labels of {evidence.users} users, use {evidence.holdout_use}.")


def _floors(evidence: Evidence, settings: PromotionSettings) -> list[Check]:
    return [
        _absolute(f"floor {kpi}", kpi, _measure(evidence, kpi), floor, at_least=True)
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
    kpi, least = settings.primary.kpi, settings.primary.min_gain
    name = f"{kpi} against {other}"
    gain = _difference(evidence, kpi, other)
    suite = evidence.suites.get(kpi)
    if suite is not None and suite.missing:
        return Check(name, Outcome.INCONCLUSIVE, f"{name} could not be measured: {suite.missing}.")
    if gain is None:
        waive = f"; to waive it, leave {other} out of promotion.must_beat" if other in OPPONENTS else ""
        return Check(name, Outcome.INCONCLUSIVE, f"{name} could not be computed on this holdout{waive}.")
    said = f"{name}: {_signed(gain.value)}, needs more than {_signed(least)}"
    if gain.lower > least:
        outcome, reason = Outcome.PASS, f"{said}; lower bound {_signed(gain.lower)}."
    elif gain.upper < least:
        outcome, reason = Outcome.FAIL, f"{said}; upper bound {_signed(gain.upper)}."
    else:
        outcome = Outcome.INCONCLUSIVE
        counted = f"{suite.n} votes" if suite else f"{evidence.n} labels"
        reason = f"{said}; the lower bound {_signed(gain.lower)} does not exclude chance ({counted})."
    return Check(name, outcome, reason, gain.value, gain.lower, least)


def _guardrail(evidence: Evidence, guardrail: Guardrail) -> Check:
    """Every limit of a guardrail must hold; the one that binds speaks."""
    name = f"guardrail {guardrail.kpi}"
    suite = evidence.suites.get(guardrail.kpi)
    if suite is not None and suite.missing:
        reason = f"{name} could not be measured: {suite.missing}."
        return Check(name, Outcome.INCONCLUSIVE, reason)
    checks = _limits(name, evidence, guardrail)
    return min(checks, key=lambda check: (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS).index(check.outcome))


def _limits(name: str, evidence: Evidence, guardrail: Guardrail) -> list[Check]:
    kpi, measured, checks = guardrail.kpi, _measure(evidence, guardrail.kpi), []
    if guardrail.max is not None:
        checks.append(_absolute(name, kpi, measured, guardrail.max, at_least=False))
    if guardrail.min is not None:
        checks.append(_absolute(name, kpi, measured, guardrail.min, at_least=True))
    if guardrail.margin is not None:
        checks.append(_margin(name, evidence, kpi, guardrail.margin))
    if guardrail.ratio is not None:
        checks.append(_ratio(name, evidence, kpi, guardrail.ratio))
    if guardrail.within is not None:
        checks.append(_within(name, _relative(evidence, kpi), guardrail.within))
    return checks


def _margin(name: str, evidence: Evidence, kpi: str, margin: float) -> Check:
    difference = _difference(evidence, kpi, "champion")
    if difference is None:
        return Check(name, Outcome.INCONCLUSIVE, f"{name} was not measured against the champion.", threshold=margin)
    worse, harm, least_harm = _harm(difference, _direction(evidence, kpi))
    doubtful = Outcome.FAIL if least_harm > margin else Outcome.INCONCLUSIVE
    outcome = Outcome.PASS if harm < margin else doubtful
    reason = f"{name}: {_signed(difference.value)}, at worst {harm:.3f} worse, accepted {margin:.3f}"
    wanted = _wanted(evidence, kpi, margin) if outcome is Outcome.INCONCLUSIVE else ""
    return Check(name, outcome, f"{reason}{wanted}.", worse, harm, margin)


def _direction(evidence: Evidence, kpi: str) -> Better:
    """Which way a KPI is better: a suite says it of its own; of what nobody knows, no change is welcome."""
    suite = evidence.suites.get(kpi)
    return (suite.better if suite else None) or better(kpi) or "same"


def _harm(difference: Difference, direction: Better) -> tuple[float, float, float]:
    """How much worse the candidate is: as found, at worst, at best."""
    if direction == "higher":
        return -difference.value, -difference.lower, -difference.upper
    if direction == "lower":
        return difference.value, difference.upper, difference.lower
    return (abs(difference.value), max(-difference.lower, difference.upper), max(difference.lower, -difference.upper))


def _wanted(evidence: Evidence, kpi: str, margin: float) -> str:
    """How many items the suite wants where its own cannot resolve the margin: errors shrink with the root of n."""
    suite = evidence.suites.get(kpi)
    if suite is None or not margin > 0 or not margin < suite.resolvable < math.inf:
        return ""
    items = math.ceil(suite.n * (suite.resolvable / margin) ** 2)
    return f"; its {suite.n} items resolve {suite.resolvable:.3f}, it wants {items}"


def _ratio(name: str, evidence: Evidence, kpi: str, ratio: float) -> Check:
    if evidence.champion_is_base:
        return Check(name, Outcome.PASS, f"{name}: the champion is the base model, so no ratio is judged.")
    relative = _relative(evidence, kpi)
    if relative is None:
        return Check(name, Outcome.INCONCLUSIVE, f"{name} was not measured as a ratio to the champion's.")
    found, worst, best = 1 + relative.value, 1 + relative.upper, 1 + relative.lower
    doubtful = Outcome.FAIL if best > ratio else Outcome.INCONCLUSIVE
    outcome = Outcome.PASS if worst <= ratio else doubtful
    reason = f"{name}: {found:.2f} times the champion's, at worst {worst:.2f}, accepted {ratio:.2f}."
    return Check(name, outcome, reason, found, worst, ratio)


def _within(name: str, relative: Difference | None, share: float) -> Check:
    if relative is None:
        return Check(name, Outcome.INCONCLUSIVE, f"{name} was not measured as a share of the champion's.")
    furthest = max(abs(relative.lower), abs(relative.upper))
    outside = relative.lower > share or relative.upper < -share
    doubtful = Outcome.FAIL if outside else Outcome.INCONCLUSIVE
    outcome = Outcome.PASS if furthest <= share else doubtful
    reason = (
        f"{name}: {relative.value:+.1%} of the champion's, between {relative.lower:+.1%} and {relative.upper:+.1%}, "
        f"accepted {share:.0%} either way."
    )
    return Check(name, outcome, reason, relative.value, furthest, share)


def _absolute(name: str, kpi: str, measured: Measure | None, limit: float, *, at_least: bool) -> Check:
    """The bound of the 95 % interval against a limit; a value without one only where the KPI has none."""
    if measured is None or not math.isfinite(measured.value):
        return Check(name, Outcome.INCONCLUSIVE, f"{name}: {kpi} was not measured.", None, None, limit)
    bound, other = (measured.low, measured.high) if at_least else (measured.high, measured.low)
    word, side = ("at least", "lower") if at_least else ("at most", "upper")
    if math.isfinite(bound):
        said = f"{name}: {measured.value:.3f}, {side} bound {bound:.3f}"
    elif kpi in BARE:
        bound, other, said = measured.value, math.nan, f"{name}: {measured.value:.3f} (as it is, without a bound)"
    else:
        reason = f"{name}: {kpi} is {measured.value:.3f}, of too few users for a bound."
        return Check(name, Outcome.INCONCLUSIVE, reason, measured.value, None, limit)
    good, beyond = (bound >= limit, other < limit) if at_least else (bound <= limit, other > limit)
    doubtful = Outcome.FAIL if beyond or not math.isfinite(other) else Outcome.INCONCLUSIVE
    outcome = Outcome.PASS if good else doubtful
    return Check(name, outcome, f"{said}, needs {word} {limit:.3f}.", measured.value, bound, limit)


def _signed(value: float) -> str:
    return f"{value:+.3f}"
