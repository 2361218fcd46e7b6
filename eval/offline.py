"""The offline gate: may a candidate that was scored on held-out feedback go on?

It owns one pure function from evidence and settings to a judgement with reasons; it touches nothing.
"""

import math

from core.settings import Guardrail, PromotionSettings
from eval.evidence import Difference, Evidence, Measure
from eval.judgement import Check, Judgement, Outcome, judge
from eval.kpis import HIGHER_IS_BETTER

LAST_USE = 5
LEAST_USERS = 10
LEAST_ITEMS = 30


def spent_level(alpha: float, use: int) -> float:
    """The level for the k-th use of one holdout: α·6/(π²k²), which sums to α over all uses."""
    return alpha * 6 / (math.pi**2 * use**2)


def decide(evidence: Evidence, settings: PromotionSettings) -> Judgement:
    """Floors, the primary KPI against every arm that must be beaten, guardrails."""
    checks = [_enough(evidence), *_floors(evidence, settings)]
    checks += [_primary(evidence, settings, other) for other in _opponents(evidence, settings)]
    checks += [_guardrail(evidence, guardrail) for guardrail in settings.guardrails]
    kpi = settings.primary.kpi
    gain = evidence.differences[kpi]["champion"]
    passed = (
        f"{kpi} {_signed(gain.value)} against the champion (lower bound {_signed(gain.lower)}, "
        f"needs more than {_signed(settings.primary.min_gain)}) on {evidence.n} held-out labels "
        f"of {evidence.users} users."
    )
    return judge(checks, passed)


def _opponents(evidence: Evidence, settings: PromotionSettings) -> list[str]:
    return ["champion", *(arm for arm in settings.must_beat if arm in evidence.arms)]


def _enough(evidence: Evidence) -> Check:
    name = "holdout"
    if evidence.holdout_use > LAST_USE:
        reason = f"The holdout {evidence.holdout} was asked {LAST_USE} times already and is spent."
        return Check(name, Outcome.INCONCLUSIVE, reason)
    if evidence.users < LEAST_USERS or evidence.n < LEAST_ITEMS:
        reason = (
            f"The holdout has {evidence.n} labels of {evidence.users} users; "
            f"a judgement wants {LEAST_ITEMS} of {LEAST_USERS}."
        )
        return Check(name, Outcome.INCONCLUSIVE, reason)
    return Check(name, Outcome.PASS, f"{evidence.n} labels of {evidence.users} users, use {evidence.holdout_use}.")


def _floors(evidence: Evidence, settings: PromotionSettings) -> list[Check]:
    return [
        _absolute(f"floor {kpi}", kpi, _lower(evidence.arms["candidate"].get(kpi)), floor, at_least=True)
        for kpi, floor in settings.floors.items()
    ]


def _lower(measure: Measure | None) -> float | None:
    if measure is None:
        return None
    return measure.value if math.isnan(measure.low) else measure.low


def _primary(evidence: Evidence, settings: PromotionSettings, other: str) -> Check:
    kpi, least = settings.primary.kpi, settings.primary.min_gain
    name = f"{kpi} against {other}"
    gain = evidence.differences[kpi][other]
    if math.isnan(gain.value) or math.isnan(gain.lower):
        return Check(name, Outcome.INCONCLUSIVE, f"{name} could not be computed on this holdout.")
    said = f"{name}: {_signed(gain.value)}, needs more than {_signed(least)}"
    if gain.lower > least:
        outcome, reason = Outcome.PASS, f"{said}; lower bound {_signed(gain.lower)}."
    elif gain.upper < least:
        outcome, reason = Outcome.FAIL, f"{said}; upper bound {_signed(gain.upper)}."
    else:
        outcome = Outcome.INCONCLUSIVE
        reason = f"{said}; the lower bound {_signed(gain.lower)} does not exclude chance ({evidence.n} labels)."
    return Check(name, outcome, reason, gain.value, gain.lower, least)


def _guardrail(evidence: Evidence, guardrail: Guardrail) -> Check:
    kpi, measured = guardrail.kpi, evidence.arms["candidate"].get(guardrail.kpi)
    name = f"guardrail {kpi}"
    if guardrail.max is not None:
        return _absolute(name, kpi, measured.value if measured else None, guardrail.max, at_least=False)
    if guardrail.min is not None:
        return _absolute(name, kpi, _lower(measured), guardrail.min, at_least=True)
    difference = evidence.differences.get(kpi, {}).get("champion")
    if guardrail.margin is None or difference is None or math.isnan(difference.lower):
        return Check(name, Outcome.INCONCLUSIVE, f"{name} was not measured against the champion.")
    return _not_worse(name, kpi, difference, guardrail.margin)


def _not_worse(name: str, kpi: str, difference: Difference, margin: float) -> Check:
    better_up = HIGHER_IS_BETTER[kpi]
    harm = -difference.lower if better_up else difference.upper
    least_harm = -difference.upper if better_up else difference.lower
    doubtful = Outcome.FAIL if least_harm > margin else Outcome.INCONCLUSIVE
    outcome = Outcome.PASS if harm < margin else doubtful
    reason = f"{name}: {_signed(difference.value)}, at worst {harm:.3f} worse, accepted {margin:.3f}."
    return Check(name, outcome, reason, -difference.value if better_up else difference.value, harm, margin)


def _absolute(name: str, kpi: str, value: float | None, limit: float, *, at_least: bool) -> Check:
    if value is None or math.isnan(value):
        return Check(name, Outcome.INCONCLUSIVE, f"{name}: {kpi} was not measured.", None, None, limit)
    good = value >= limit if at_least else value <= limit
    word = "at least" if at_least else "at most"
    outcome = Outcome.PASS if good else Outcome.FAIL
    return Check(name, outcome, f"{name}: {value:.3f}, needs {word} {limit:.3f}.", value, value, limit)


def _signed(value: float) -> str:
    return f"{value:+.3f}"
