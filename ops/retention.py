"""Retention: what is too old of each kind, its deletion by schedule or by a person, and the log of what went."""

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from core.clock import Clock, new_id
from core.db import console_sessions
from core.db import retention as table
from core.db.store import Row, Store
from core.errors import NotFound, NotReady
from core.settings import Settings
from feedback import retention
from ops import retention_files as files
from ops.disk_space import require_space

log = logging.getLogger(__name__)

RunAlone = Callable[[Callable[[], None]], Future[None]]
"""Queues work that no run overlaps."""

# Days from the first start until the schedule deletes anything, so that somebody can read what would go.
FIRST_DAYS = 7
SCHEDULE = "schedule"
WHAT = {
    "texts": "prompts and answers",
    "unrated_texts": "texts and users of interactions without feedback",
    "stored_completions": "stored completions",
    "votes": "feedback",
    "waiting": "waiting feedback and revocations, old positions in segments",
    "answers": "cached answers of evaluations",
    "snapshots": "snapshots that versions learnt from",
    "unused_snapshots": "snapshots that no version learnt from",
    "runs": "folders of runs",
    "progress": "progress of runs, interim analyses",
    "regressions": "examples of evaluations",
    "dead_letters": "dead letters and damaged segments",
    "audit_log": "rows of the audit log",
    "restore_copies": "folders before-restore-…",
}


@dataclass(frozen=True, slots=True)
class Held:
    """What there is of one kind, and what is older than its setting. `kept` has what stays at any age, with reasons.

    `rows` counts rows or folders. `bytes` of rows is estimated from 2,000 rows.
    """

    kind: str
    what: str
    days: int | None
    rows: int
    bytes: int
    old_rows: int
    old_bytes: int
    kept: dict[str, str]


class Retention:
    """Deletes what is too old. Nothing is deleted while a run is working, because a run reads votes and snapshots."""

    def __init__(self, *, store: Store, settings: Settings, clock: Clock, run_alone: RunAlone) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._run_alone = run_alone
        self._stopped = threading.Event()

    def start(self) -> None:
        """Record what a stopped control left undone, and announce the schedule at the first start."""
        now = self._clock()
        table.interrupt(self._store, time=now)
        if table.announced(self._store) is None:
            table.add_run(self._store, id=new_id("ret"), time=now, state="announced", actor=SCHEDULE, comment="")

    def stop(self) -> None:
        """End after the piece that is under way."""
        self._stopped.set()

    def take(self, settings: Settings) -> None:
        """Use other settings from now on."""
        self._settings = settings

    def show(self) -> dict[str, Any]:
        """What there is of each kind, what would be deleted now, and from when on the schedule deletes."""
        announced = table.announced(self._store)
        begins = announced + timedelta(days=FIRST_DAYS) if announced else None
        return {
            "schedule": self._settings.retention.schedule,
            "begins": begins,
            "kinds": [asdict(one) for one in self._held()],
        }

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Deletions, newest first."""
        return [shown(row) for row in table.newest_runs(self._store, limit=limit)]

    def find(self, identity: str) -> dict[str, Any]:
        """One deletion. Raises NotFound."""
        row = table.run(self._store, id=identity)
        if row is None:
            raise NotFound("deletion", identity, hint="See: loraloop retention log")
        return shown(row)

    def begin(self, actor: str, comment: str) -> dict[str, Any]:
        """Queue a deletion by a person. Raises NotReady if the disk has no space to rewrite the store."""
        require_space(self._settings.data, "A deletion")
        identity = new_id("ret")
        table.add_run(self._store, id=identity, time=self._clock(), state="queued", actor=actor, comment=comment)
        self._run_alone(partial(self._carry_out, identity, rewrite=True))
        return self.find(identity)

    def run_schedule(self) -> None:
        """Queue a deletion by the schedule."""
        self._run_alone(self._scheduled)

    def _scheduled(self) -> None:
        now, announced = self._clock(), table.announced(self._store)
        console_sessions.delete_expired(self._store, now=now)
        found = [one for one in self._held() if one.old_rows]
        last = table.last_rewrite(self._store)
        rewrite = last is None or last <= now - timedelta(days=self._settings.retention.rewrite_days)
        if not found and not (rewrite and self._owes_rewrite()):
            return
        said = ", ".join(f"{one.old_rows} {one.what}" for one in found)
        if announced is None or now < announced + timedelta(days=FIRST_DAYS):
            begins = (announced or now) + timedelta(days=FIRST_DAYS)
            log.warning("retention will delete from %s on: %s; see: loraloop retention show", begins.date(), said)
            return
        identity = new_id("ret")
        table.add_run(self._store, id=identity, time=now, state="queued", actor=SCHEDULE, comment="")
        self._carry_out(identity, rewrite=rewrite)

    def _owes_rewrite(self) -> bool:
        """Whether texts were deleted since the store's file was last rewritten."""
        for row in table.newest_runs(self._store, limit=1000):
            deleted = json.loads(row["deleted"])
            if deleted.get("rewritten"):
                return False
            if any(deleted.get(kind, {}).get("rows") for kind in retention.WITH_TEXTS):
                return True
        return False

    def _carry_out(self, identity: str, *, rewrite: bool) -> None:
        deleted: dict[str, Any] = {}
        try:
            self._delete(identity, deleted)
            if rewrite and not self._stopped.is_set():
                table.set_run(self._store, id=identity, state="rewriting", deleted=json.dumps(deleted))
                deleted["rewritten"] = self._rewrite()
            self._end(identity, "failed" if self._stopped.is_set() else "done", deleted)
        except Exception:
            log.exception("the deletion %s broke off", identity)
            self._end(identity, "failed", deleted)

    def _end(self, identity: str, state: str, deleted: dict[str, Any]) -> None:
        table.set_run(self._store, id=identity, state=state, deleted=json.dumps(deleted), finished=self._clock())
        log.info("retention %s: %s %s", identity, state, json.dumps(deleted))

    def _rewrite(self) -> bool:
        """Rewrite the store's file, or say why it has to wait."""
        try:
            require_space(self._settings.data, "A deletion")
            self._store.rewrite()
        except NotReady as error:
            log.warning("deleted texts remain in free blocks of the store's file: %s", error)
            return False
        return True

    def _delete(self, identity: str, deleted: dict[str, Any]) -> None:
        settings, now = self._settings.retention, self._clock()
        for kind, found in retention.find_rows(self._store, settings, now).items():
            days = getattr(settings, kind)
            if days is None or not found.old_rows:
                continue
            rows = 0
            for count in retention.delete_rows(self._store, kind, days, now):
                rows += count
                deleted[kind] = {"rows": rows, "bytes": round(rows * (found.mean_bytes or 0))}
                table.set_run(self._store, id=identity, state="deleting", deleted=json.dumps(deleted))
                if self._stopped.is_set():
                    return
        for item in files.items(self._store, self._settings.data):
            if item.is_old(settings, now) and not self._stopped.is_set():
                files.delete(self._store, item)
                before = deleted.get(item.kind, {"rows": 0, "bytes": 0})
                deleted[item.kind] = before | {
                    "rows": before["rows"] + 1,
                    "bytes": before["bytes"] + item.size,
                    "names": [*before.get("names", []), item.name],
                }

    def _held(self) -> list[Held]:
        settings, now = self._settings.retention, self._clock()
        found = retention.find_rows(self._store, settings, now)
        by_kind: dict[str, list[files.Item]] = defaultdict(list)
        for item in files.items(self._store, self._settings.data):
            by_kind[item.kind].append(item)
        held = []
        for kind, what in WHAT.items():
            here, days = by_kind[kind], getattr(settings, kind)
            old = [item for item in here if item.is_old(settings, now)]
            rows = found.get(kind)
            held.append(
                Held(
                    kind,
                    what,
                    days,
                    (rows.rows if rows else 0) + len(here),
                    (rows.bytes if rows else 0) + sum(item.size for item in here),
                    (rows.old_rows if rows and days else 0) + len(old),
                    (rows.old_bytes if rows and days else 0) + sum(item.size for item in old),
                    {item.name: item.needed for item in here if item.needed},
                )
            )
        return held


def shown(row: Row) -> dict[str, Any]:
    """A deletion as people see it."""
    return row | {"deleted": json.loads(row["deleted"])}
