"""The watch over a hash chain, the ledger or the audit log: what pages say of it, without reading all of it each time.

It owns when rows are checked: new ones with every page, all of them at the start, and once an hour or a day; what makes
a row right is the ledger's.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from core import audit_log
from core.clock import Clock
from core.db.store import Store
from core.hash_chain import EMPTY, ChainReport
from core.ledger import verify_store

log = logging.getLogger(__name__)

WHOLE_SECONDS = 3600.0
# The audit log has many more rows: a million of them take 16 CPU seconds.
DAY_SECONDS = 24 * 3600.0
NOT_YET = "Not checked yet."


# Checks a chain in the store. It must contain the head, if one is given, and goes on after an earlier report.
Verify = Callable[[Store, str | None, ChainReport], ChainReport]


def verify_ledger(store: Store, head: str | None, after: ChainReport) -> ChainReport:
    """Check the ledger."""
    return verify_store(store, head, after=after)


def verify_audit_log(store: Store, _: str | None, after: ChainReport) -> ChainReport:
    """Check the audit log. Rows are deleted by age, so a head of before may be gone: audit.head has the newest."""
    return audit_log.verify_store(store, after=after)


class LedgerWatch:
    """The last check, carried on over the rows that came since."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        verify: Verify = verify_ledger,
        name: str = "ledger",
        whole_seconds: float = WHOLE_SECONDS,
    ) -> None:
        self._store = store
        self._verify = verify
        self._name = name
        self._clock = clock
        self._last = EMPTY
        # The newest one that was verified: a tail that is cut off leaves a chain that is whole in itself.
        self._known = EMPTY
        self._whole: Any = None
        self._looking = threading.Lock()
        self._whole_seconds = whole_seconds
        self._walking = threading.Lock()
        self._begun = 0.0
        # Why the last walk broke off, empty if it did not.
        self._broke_off = ""

    def report(self) -> dict[str, Any]:
        """Whether the ledger is whole; `checked` is when all of it was last walked, or None while none was."""
        with self._looking:
            if self._last.ok:
                self._take(self._verify(self._store, None, self._last))
        return self.last()

    def last(self) -> dict[str, Any]:
        """What the last check found, without a new one."""
        last, broke_off = self._last, self._broke_off
        reason = broke_off or (NOT_YET if last is EMPTY else last.reason)
        ok = last.ok and not broke_off
        return {"ok": ok, "rows": last.rows, "head": last.head, "reason": reason, "checked": self._whole}

    def walk(self) -> None:
        """Checks every row again, and that the newest head known is among them. Pages go on with the check before.

        While a walk that raised is the last one, the chain does not count as whole. One walk is done at a time: callers
        that wait for it share the next one.
        """
        called = time.monotonic()
        with self._walking:
            if self._begun < called:
                self._begun = time.monotonic()
                self._walk()

    def _walk(self) -> None:
        try:
            found = self._verify(self._store, self._known.head, EMPTY)
        except Exception as error:
            self._broke_off = f"Its check failed ({type(error).__name__}). See control's log."
            raise
        with self._looking:
            self._whole, self._broke_off = self._clock(), ""
            self._take(found)

    async def keep_walking(self) -> None:
        """Walks now and then until it is cancelled, also after a walk that failed."""
        while True:
            try:
                await asyncio.to_thread(self.walk)
            except Exception:
                log.exception("the %s could not be walked; the next try is in %.0f s", self._name, self._whole_seconds)
            await asyncio.sleep(self._whole_seconds)

    def _take(self, found: ChainReport) -> None:
        if self._last.ok and not found.ok:
            log.error("The %s is broken. %s", self._name, found.reason)
        if found.ok and self._last.ok and found.rows < self._last.rows:
            return  # rows came, and were checked for a page, while all before them were walked
        self._last = found
        if found.ok:
            self._known = found
