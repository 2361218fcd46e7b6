"""The watch over the ledger: what pages say of it, without reading all of it for each page.

It owns when rows are checked: new ones with every page, all of them at the start and once an hour; what makes a
row right is the ledger's.
"""

import asyncio
import threading
from typing import Any

from core.clock import Clock
from core.ledger import EMPTY, verify_store
from core.store import Store

WHOLE_SECONDS = 3600.0


class LedgerWatch:
    """The last check, carried on over the rows that came since."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._last = EMPTY
        self._whole: Any = None
        self._looking = threading.Lock()

    def report(self) -> dict[str, Any]:
        """Whether the ledger is whole; `checked` is when all of it was last walked, or None while none was."""
        with self._looking:
            self._last = verify_store(self._store, after=self._last) if self._last.ok else self._last
            last = self._last
        return {"ok": last.ok, "rows": last.rows, "head": last.head, "reason": last.reason, "checked": self._whole}

    def walk(self) -> None:
        """Checks every row anew. Pages go on with the check before until this one is done."""
        found = verify_store(self._store)
        with self._looking:
            self._last, self._whole = found, self._clock()

    async def keep_walking(self) -> None:
        """Walks now and then for as long as it is let."""
        while True:
            await asyncio.to_thread(self.walk)
            await asyncio.sleep(WHOLE_SECONDS)
