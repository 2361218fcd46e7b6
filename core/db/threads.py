"""How many threads DuckDB has: one while rows are added in bulk, otherwise one per core.

DuckDB's Python package does not sleep while another thread works on its statement. It polls, and takes the GIL each
time (DuckDB's issue 22178). To add rows this is most of the cost, and the next rows cannot be decoded.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.db.store import Store


class BulkThreads:
    """Gives a store's DuckDB one thread while at least one caller adds rows in bulk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changing = threading.Lock()
        self._callers = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Keep one thread. The first caller waits until other threads have ended their part of a query.

        A caller that comes during a change of the number neither waits nor counts. It has the threads that there are.
        """
        if not self._changing.acquire(blocking=False):
            yield
            return
        try:
            if not self._callers:
                self._store.rows("threads.one")
            self._callers += 1
        finally:
            self._changing.release()
        try:
            yield
        finally:
            # Nobody changes the number while a caller is counted, so that this waits for nobody's query.
            with self._changing:
                self._callers -= 1
                if not self._callers:
                    self._store.rows("threads.default")
