"""What the ledger keeps of a judgement: its checks, and a row for each KPI and guardrail of an evaluation.

It owns how evidence and judgement become plain data side by side; it must not measure or decide anything.
"""

import math
from dataclasses import asdict
from typing import Any

from eval.gates.result import GateResult
from eval.kpis.evidence import Evidence

PAIRED = "paired bootstrap over users, one-sided"
ALONE = "compared as it is"


def plain_checks(judgement: GateResult) -> list[dict[str, Any]]:
    """Every check as JSON; a bound that is no number yet becomes null."""
    return [
        {name: _finite(value) if isinstance(value, float) else value for name, value in asdict(check).items()}
        | {"outcome": str(check.outcome)}
        for check in judgement.checks
    ]


def kpi_rows(evidence: Evidence, judgement: GateResult) -> list[dict[str, Any]]:
    """One row a KPI: its value in every arm, and what the candidate gained on the champion with its bounds.

    A check that names a KPI gives the row its threshold and verdict; one that only was measured has none.
    """
    names = dict.fromkeys(kpi for measures in evidence.arms.values() for kpi in measures)
    return [_row(kpi, evidence, judgement) for kpi in names]


def _row(kpi: str, evidence: Evidence, judgement: GateResult) -> dict[str, Any]:
    difference = evidence.differences.get(kpi, {}).get("champion")
    suite = evidence.suites.get(kpi)
    checks = [check for check in judgement.checks if kpi in check.name.split()]
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


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
