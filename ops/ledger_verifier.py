"""The watch over the ledger: what pages say of it, without reading all of it for each page.

It owns when rows are checked: new ones with every page, all of them at the start and once an hour; what makes a
row right is the ledger's.
"""

import asyncio
import logging
import threading
from typing import Any

from core.clock import Clock
from core.db.store import Store
from core.ledger import EMPTY, ChainReport, verify_store

log = logging.getLogger(__name__)

WHOLE_SECONDS = 3600.0


class LedgerWatch:
    """The last check, carried on over the rows that came since."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._last = EMPTY
        # The newest one that was verified: a tail that is cut off leaves a chain that is whole in itself.
        self._known = EMPTY
        self._whole: Any = None
        self._looking = threading.Lock()

    def report(self) -> dict[str, Any]:
        """Whether the ledger is whole; `checked` is when all of it was last walked, or None while none was."""
        with self._looking:
            if self._last.ok:
                self._take(verify_store(self._store, after=self._last))
            last = self._last
        return {"ok": last.ok, "rows": last.rows, "head": last.head, "reason": last.reason, "checked": self._whole}

    def walk(self) -> None:
        """Checks every row again, and that the newest head known is among them. Pages go on with the check before."""
        found = verify_store(self._store, self._known.head)
        with self._looking:
            self._whole = self._clock()
            self._take(found)

    async def keep_walking(self) -> None:
        """Walks now and then until it is cancelled, also after a walk that failed."""
        while True:
            try:
                await asyncio.to_thread(self.walk)
            except Exception:
                log.exception("the ledger could not be walked; the next try is in %.0f s", WHOLE_SECONDS)
            await asyncio.sleep(WHOLE_SECONDS)

    def _take(self, found: ChainReport) -> None:
        if self._last.ok and not found.ok:
            log.error("The ledger is broken. %s", found.reason)
        if found.ok and self._last.ok and found.rows < self._last.rows:
            return  # rows came, and were checked for a page, while all before them were walked
        self._last = found
        if found.ok:
            self._known = found
