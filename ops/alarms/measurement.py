"""The measured state that alarms are about: engines, gateways, disk, ledger, backups, canaries, runs.

It reads no table that grows with traffic, and a part that cannot be measured leaves the others.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import Any

from core.db import alarms as alarms_table
from core.db import spools
from core.db.store import Row
from ops.audit import views as audit_views
from ops.canary_progress import forecast_days, limit_hours
from ops.control import Control
from ops.notify.notifier import Delivery

log = logging.getLogger(__name__)


def engines(control: Control) -> list[dict[str, Any]]:
    """Each engine as the newest check found it."""
    return [
        {
            "url": s.url,
            "ready": s.ready,
            "healthy": s.healthy,
            "adapters": list(s.adapters),
            "missing": list(s.missing),
            "error": s.error,
        }
        for s in control.engines.states
    ]


def gateways(control: Control) -> list[dict[str, Any]]:
    """Each gateway that has asked for routes lately, with what it said of itself."""
    board = control.promotion.board
    return [
        {
            "gateway": name,
            "up_to_date": report.etag == board.etag,
            "in_flight": sum(report.in_flight.values()),
            "unshipped": report.unshipped,
            "dropped": report.dropped,
        }
        for name, report in sorted(board.gateways().items())
    ]


def disk(control: Control) -> dict[str, int]:
    """Free and total bytes of the disk of the data folder."""
    usage = shutil.disk_usage(control.settings.data)
    return {"free": usage.free, "total": usage.total}


def audit_chain(control: Control) -> dict[str, Any] | None:
    """Whether the audit log is whole, None before all of it was checked once: that takes a while after the start."""
    found = audit_views.state(control.audit, control.audit_watch)
    return None if found["ok"] and found["checked"] is None else found


def backups(control: Control) -> dict[str, Any]:
    """When the newest backup was made, and the newest that failed."""
    store = control.store
    return {"newest": alarms_table.newest_backup(store), "failure": alarms_table.backup_failure(store)}


def runs(control: Control) -> list[Row]:
    """The newest ended runs of each model. Those of a model that was removed from the settings are left out."""
    rows = alarms_table.ended_runs(control.store, limit=control.settings.alarms.failed_runs)
    return [row for row in rows if row["model"] in control.settings.models]


class Measurement:
    """Measures all parts. It remembers when the requests of each running canary last became more, and its forecast."""

    def __init__(self, control: Control, deliveries: Callable[[], list[Delivery]]) -> None:
        self._control = control
        self._requests: dict[str, tuple[int, datetime]] = {}
        self._forecasts: dict[str, float | None] = {}
        self._failing: set[str] = set()
        self._parts: dict[str, Callable[[], Any]] = {
            "engines": partial(engines, control),
            "gateways": partial(gateways, control),
            "notifications": lambda: [asdict(delivery) for delivery in deliveries()],
            "dead_letters": lambda: spools.count_dead_letters(control.store),
            "disk": partial(disk, control),
            "ledger": control.ledger.report,
            "audit_log": lambda: {"failing": control.audit.failing},
            "audit_chain": partial(audit_chain, control),
            "backups": partial(backups, control),
            "canaries": self._canaries,
            "runs": partial(runs, control),
        }

    def measure(self) -> dict[str, Any]:
        """The state of each part that is known. One that fails is left out, and logged once until it works again."""
        found: dict[str, Any] = {}
        for name, part in self._parts.items():
            try:
                state = part()
                if state is not None:
                    found[name] = state
                self._failing.discard(name)
            except Exception:  # one part must not hide the alarms of the others
                if name not in self._failing:
                    log.exception("alarms about %s cannot be checked", name)
                self._failing.add(name)
        return found

    def _canaries(self) -> list[dict[str, Any]]:
        rows = alarms_table.canaries(self._control.store)
        open_runs = {row["run_id"] for row in rows}
        for known in (self._requests, self._forecasts):
            for run in known.keys() - open_runs:
                del known[run]
        return [self._canary(row) for row in rows]

    def _canary(self, row: Row) -> dict[str, Any]:
        run = row["run_id"]
        requests = json.loads(row["numbers"])["canary"]["requests"] if row["numbers"] else 0
        known, since = self._requests.get(run) or (requests, self._idle_since(row, requests))
        # Fewer than before: data of a user was erased, and no request came.
        self._requests[run] = requests, self._control.clock() if requests > known else since
        if run not in self._forecasts:
            self._forecasts[run] = forecast_days(self._control.store, run)
        return {
            "model": row["model"],
            "version": row["candidate"],
            "started": row["started"],
            "waits": row["state"] == "awaiting_approval" or row["paused"] is not None,
            "requests": requests,
            "idle_since": self._requests[run][1],
            "max_hours": limit_hours(self._control, row),
            "forecast_days": self._forecasts[run],
        }

    def _idle_since(self, row: Row, requests: int) -> datetime:
        """After a restart: the oldest analysis with as many requests as the newest. Later ones are of the champion."""
        store, run, started = self._control.store, row["run_id"], row["started"]
        return alarms_table.idle_since(store, run_id=run, started=started, requests=requests) or started
