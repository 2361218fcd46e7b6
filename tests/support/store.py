"""Rows for the store and its ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

from core.records import Decision, Verdict

NOW = datetime(2026, 3, 1, 3, 0, 0, 123456, tzinfo=UTC)


def decision(number: int, **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "id": f"d{number}",
        "time": NOW + timedelta(minutes=number),
        "model": "m",
        "from_version": 0,
        "to_version": number,
        "verdict": Verdict.PROMOTED,
        "reason": "macro F1 +0.8 points, needs +0.0 — “ja”",
        "trigger": "schedule",
        "actor": "loraloop",
        "evidence": {"n": 3, "p": 0.25},
    }
    return Decision(**(fields | changes))
