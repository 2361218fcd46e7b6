"""Evidence as plain JSON, for the ledger and the commands that show it.

It owns names and rounding; numbers that are none become null.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from eval.kpis import classification
from eval.kpis.evidence import Difference, Evidence, Measure, SuiteEvidence


def plain_evidence(evidence: Evidence) -> dict[str, Any]:
    """Everything that a gate was given."""
    return {
        "n": evidence.n,
        "users": evidence.users,
        "holdout": evidence.holdout,
        "holdout_use": evidence.holdout_use,
        "candidate_is_rag": evidence.candidate_is_rag,
        "arms": {arm: plain_measures(found) for arm, found in evidence.arms.items()},
        "differences": {
            kpi: {other: _difference(found) for other, found in by_arm.items()}
            for kpi, by_arm in evidence.differences.items()
        },
        "confusion": json.loads(json.dumps(evidence.confusion)),
        "class_f1": {
            arm: [_finite(value) for value in classification.f1_by_class(table)]
            for arm, table in evidence.confusion.items()
        },
        "suites": {kpi: plain_suite(found) for kpi, found in evidence.suites.items()},
    }


def plain_suite(found: SuiteEvidence) -> dict[str, Any]:
    """One suite: its arms, the candidate against the champion, and what its items can tell apart."""
    return {
        "n": found.n,
        "users": found.users,
        "arms": {arm: plain_measures({found.kpi: measure})[found.kpi] for arm, measure in found.arms.items()},
        "difference": _difference(found.difference) if found.difference else None,
        "relative": _difference(found.relative) if found.relative else None,
        "resolvable": _finite(found.resolvable),
        "missing": found.missing,
    }


def plain_measures(found: Mapping[str, Measure]) -> dict[str, dict[str, float | None]]:
    """KPIs with their intervals."""
    return {
        kpi: {"value": _finite(m.value), "low": _finite(m.low), "high": _finite(m.high)} for kpi, m in found.items()
    }


def _difference(found: Difference) -> dict[str, float | None]:
    return {
        "value": _finite(found.value),
        "lower": _finite(found.lower),
        "upper": _finite(found.upper),
        "level": found.level,
    }


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
