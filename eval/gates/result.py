"""The shape of a judgement: an outcome with its binding reason and the checks behind it.

Three outcomes: pass, fail, inconclusive. Inconclusive keeps the champion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a gate says of a candidate; `wait` only in a canary that goes on."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Check:
    """One test: what was measured, with its bound, against which threshold."""

    name: str
    outcome: Outcome
    reason: str
    value: float | None = None
    bound: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """The outcome, the reason that binds it, and every check."""

    outcome: Outcome
    reason: str
    checks: tuple[Check, ...]


def combine_checks(checks: Sequence[Check], passed: str) -> GateResult:
    """Fail if any check fails, else inconclusive if any is, else pass with the given reason."""
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        for check in checks:
            if check.outcome is outcome:
                return GateResult(outcome, check.reason, tuple(checks))
    return GateResult(Outcome.PASS, passed, tuple(checks))
