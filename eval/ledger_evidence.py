"""What the ledger records of an evaluation: evidence, checks and KPI rows as plain JSON.

A number that is not finite becomes null.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from eval.gates.result import GateResult
from eval.kpis import classification
from eval.kpis.evidence import Difference, Evidence, Measure, SliceEvidence, SuiteEvidence
from eval.kpis.label_selection import ORIGINS, LabelSelection

PAIRED = "paired bootstrap over users, one-sided"
ALONE = "compared as it is"


def plain_checks(judgement: GateResult) -> list[dict[str, Any]]:
    """Every check as JSON."""
    return [
        {name: _finite(value) if isinstance(value, float) else value for name, value in asdict(check).items()}
        | {"outcome": str(check.outcome)}
        for check in judgement.checks
    ]


def check_fields(check: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """(kind, KPI, arm) of a plain check. Entries from before these fields were recorded have them in the name."""
    if check.get("kind"):
        return check["kind"], check.get("kpi"), check.get("against")
    name = str(check["name"])
    if " against " in name:
        kpi, against = name.split(" against ", 1)
        return "gain", kpi, against
    if name.startswith("guardrail "):
        return "guardrail", name.removeprefix("guardrail "), None
    return "", None, None


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
        "label_selection": plain_selection(evidence.selection) if evidence.selection else None,
        "slices": plain_slices(evidence.slices) if evidence.slices else None,
    }


def plain_selection(found: LabelSelection) -> dict[str, Any]:
    """Labels of answers that were right and wrong and why they were given, and how often live answers are right.

    `approval` is the share of thumbs that are up. `effective` is None if no source says how often answers are right.
    """
    source = "audit" if found.audit.is_known else "thumbs" if found.thumbs_are_known else None
    return {
        "right": found.right,
        "wrong": found.wrong,
        "unknown": len(found.served) - found.right - found.wrong,
        "origins": {name: found.count(place) for place, name in enumerate(ORIGINS)},
        "source": source,
        "approval": _finite(found.thumbs.share),
        "approval_error": _finite(found.thumbs.error),
        "voters": found.thumbs.voters,
        "audit": {
            "right": _finite(found.audit.approval.share),
            "error": _finite(found.audit.approval.error),
            "users": found.audit.approval.voters,
            "marked": found.audit.marked,
            "answered": found.audit.answered,
            "drawn": found.audit.drawn,
            "ignored": found.audit.ignored,
        },
        "effective": _finite(found.effective) if found.is_known else None,
    }


def plain_slices(found: SliceEvidence) -> dict[str, Any]:
    """The judged slices, the lowest difference first, and how many had too few items or voters."""
    return {
        "judged": [
            {
                "dimension": one.dimension,
                "value": one.value,
                "kpi": one.kpi,
                "n": one.n,
                "voters": one.voters,
                "difference": _difference(one.difference),
                "words": [asdict(word) for word in one.words],
            }
            for one in found.slices
        ],
        "small": found.small,
        "least": found.least,
        "level": _finite(found.level),
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


def kpi_rows(evidence: Evidence, judgement: GateResult) -> list[dict[str, Any]]:
    """One row per KPI: its value in every arm, and the candidate's difference from the champion with bounds.

    Each check of the KPI adds its threshold and verdict.
    """
    names = dict.fromkeys(kpi for measures in evidence.arms.values() for kpi in measures)
    return [_row(kpi, evidence, judgement) for kpi in names]


def _row(kpi: str, evidence: Evidence, judgement: GateResult) -> dict[str, Any]:
    difference = evidence.differences.get(kpi, {}).get("champion")
    suite = evidence.suites.get(kpi)
    checks = [check for check in judgement.checks if check.kpi == kpi]
    return {
        "kpi": kpi,
        "arms": {arm: _finite(found[kpi].value) for arm, found in evidence.arms.items() if kpi in found},
        "difference": _finite(difference.value) if difference else None,
        "interval": [_finite(difference.lower), _finite(difference.upper)] if difference else None,
        "level": difference.level if difference else None,
        "n": suite.n if suite else evidence.n,
        "users": suite.users if suite else evidence.users,
        "test": PAIRED if difference else ALONE,
        "checks": [
            {"name": check.name, "threshold": check.threshold, "verdict": str(check.outcome)} for check in checks
        ],
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
