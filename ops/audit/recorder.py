"""Writes the audit log: an act's row before its answer, reads, log-ins and refusals together within seconds."""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from core.acts import Act
from core.audit_log import Entry, append
from core.clock import Clock
from core.db.store import Store
from core.errors import ActNotRecorded, AuditLogFailed
from ops.audit.waiting import Waiting

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
# Rows that could not be written. They are tried again. If there are more, refusals are lost first, then the newest.
MOST_UNWRITTEN = 1000
HINT = "See control's log. Often the disk is full."


def _most_important(entries: Sequence[Entry]) -> list[Entry]:
    """The entries to try again, as many as may wait."""
    kept = sorted(entries, key=lambda entry: entry.outcome == "refused")[:MOST_UNWRITTEN]
    return sorted(kept, key=lambda entry: entry.time)


class AuditRecorder:
    """Records acts. Several threads may use it.

    While the log cannot be written, `failing` is True, and rows wait in memory.
    """

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self._waiting = Waiting()
        self._counting = threading.Lock()
        self._writing = threading.Lock()
        self._unwritten: list[Entry] = []
        self._tried = 0.0
        self.failing = False

    def write(self, entry: Entry) -> None:
        """Write the row of an act. Raises ActNotRecorded; the row is then tried again."""
        self._append([entry])

    def later(self, entry: Entry) -> None:
        """Have the row of a read, a log-in or a refusal written within its time."""
        with self._counting:
            self._waiting.add(entry)

    def record_signal(self) -> None:
        """Have it written that a signal made this process read its settings again."""
        self.later(Entry(self.clock(), Act.SETTINGS_RELOAD, actor="SIGHUP"))

    def require(self) -> None:
        """Raise AuditLogFailed while the log cannot be written. Tries at most once per second."""
        if self.failing and time.monotonic() - self._tried >= FLUSH_SECONDS:
            with suppress(AuditLogFailed):
                self._append([])
        if self.failing:
            raise AuditLogFailed("The audit log cannot be written, so this is refused.", hint=HINT)

    def flush(self, *, all_of_them: bool = False) -> None:
        """Write what has waited long enough. Raises AuditLogFailed."""
        with self._counting:
            due = self._waiting.take(self.clock(), all_of_them=all_of_them)
        if due or self._unwritten:
            self._append(due)

    async def keep_flushing(self) -> None:
        """Flush every second until it is cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await asyncio.to_thread(self.try_flush)

    def try_flush(self, *, all_of_them: bool = False) -> None:
        """Flush; the log of the process has what went wrong."""
        try:
            self.flush(all_of_them=all_of_them)
        except AuditLogFailed as error:
            log.debug("%s", error)

    def _append(self, entries: Sequence[Entry]) -> None:
        with self._writing:
            self._tried = time.monotonic()
            batch = [*self._unwritten, *entries]
            try:
                with self.store.transaction() as transaction:
                    append(transaction, batch)
            except Exception as error:  # of the store, for example on a full disk
                if not self.failing:
                    log.exception("the audit log cannot be written: acts are refused until it can")
                if len(batch) > MOST_UNWRITTEN:
                    log.error("%d rows of the audit log are lost", len(batch) - MOST_UNWRITTEN)
                self._unwritten, self.failing = _most_important(batch), True
                raise ActNotRecorded(
                    "The audit log cannot be written. What you asked for may be done; its result is not shown.",
                    hint=HINT,
                ) from error
            if self.failing:
                log.warning("the audit log can be written again; %d rows had waited", len(self._unwritten))
            self._unwritten, self.failing = [], False
