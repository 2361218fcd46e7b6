"""The progress of running canaries: their age, their limit, the forecast, and what the newest analysis counted.

It reads no table that grows with traffic.
"""

import json
from typing import Any

from core.db import alarms as alarms_table
from core.db import decisions
from core.db.store import Row, Store
from core.records import Verdict
from ops.control import Control
from rollout.live_plan import load_plan

View = dict[str, Any]


def limit_hours(control: Control, row: Row) -> float | None:
    """The limit that ends a canary: the one that it began with. None without one in the settings, which ends it."""
    model = control.settings.models.get(row["model"])
    canary = model.promotion.canary if model else None
    return load_plan(row["plan"], canary, row["share"], row["score_sd"]).settings.max_hours if canary else None


def forecast_days(store: Store, run: str) -> float | None:
    """The days that a canary was expected to last when it began, None if no end was expected."""
    for row in decisions.of_run(store, run_id=run):
        if row["verdict"] == Verdict.CANARY_STARTED:
            return json.loads(row["body"])["live"].get("forecast", {}).get("days")
    return None


def canaries(control: Control) -> dict[str, View]:
    """The progress of the running canary of each model that has one."""
    return {row["model"]: _progress(control, row) for row in alarms_table.canaries(control.store)}


def _progress(control: Control, row: Row) -> View:
    """Durations are in seconds. `left` counts to the forecast, after that to the limit, and is None while it waits."""
    started, run = row["started"], row["run_id"]
    arm = json.loads(row["numbers"])["canary"] if row["numbers"] else {"users": 0, "requests": 0}
    hours, days = limit_hours(control, row), forecast_days(control.store, run)
    age = max(0.0, (control.clock() - started).total_seconds())
    ends = sorted(seconds for seconds in (hours and hours * 3600, days and days * 86_400) if seconds)
    end = next((seconds for seconds in ends if seconds > age), ends[-1] if ends else None)
    waits = row["state"] == "awaiting_approval" or row["paused"] is not None
    return {
        "version": row["candidate"],
        "started": started,
        "age": age,
        "limit": hours and hours * 3600,
        "end": end,
        "left": None if waits or end is None else max(0.0, end - age),
        "users": arm["users"],
        "requests": arm["requests"],
        "looked": row["looked"],
    }
