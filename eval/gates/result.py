"""What a gate returns: an outcome with its reason, and the checks behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a gate. Inconclusive keeps the champion; only a running canary waits."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Check:
    """One test: the measured value with its bound, and the threshold.

    `kind` says which rule made it, such as `gain`, `margin` or `harm`. `kpi` and `against` (an arm) are None for
    checks that concern no KPI, or no other arm.
    """

    name: str
    outcome: Outcome
    reason: str
    value: float | None = None
    bound: float | None = None
    threshold: float | None = None
    kind: str = ""
    kpi: str | None = None
    against: str | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """The outcome, its reason, and every check."""

    outcome: Outcome
    reason: str
    checks: tuple[Check, ...]


def combine_checks(checks: Sequence[Check], passed: str) -> GateResult:
    """Fail if any check fails, else inconclusive if any is, else pass with the given reason.

    The reason names every check of the deciding outcome; checks of the gain come first.
    """
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        deciding = [check for check in checks if check.outcome is outcome]
        if deciding:
            deciding.sort(key=lambda check: check.kind != "gain")
            reason = " ".join(check.reason for check in deciding)
            several = f"{len(deciding)} checks did not pass: " if len(deciding) > 1 else ""
            return GateResult(outcome, several + reason, tuple(checks))
    return GateResult(Outcome.PASS, passed, tuple(checks))
