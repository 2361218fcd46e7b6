"""The gateway's copy of the routing table, updated by a long poll and kept on disk.

Without control, the gateway continues with its last table. A table is used only after the retrievals that it names
are available.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp

from core.api_keys import Grant
from core.errors import IntegrityFailed, NotReady, Unreachable
from serve.routing.retrieval_cache import RetrievalCache
from serve.routing.table import RoutingTable

log = logging.getLogger(__name__)

POLL_SECONDS = 20
RETRY_SECONDS = 1.0


class RouteSubscriber:
    """Holds the table that serves now; with each poll it tells control what `spool` says of the gateway's own."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        control_url: str,
        name: str,
        key: str,
        cache: Path,
        spool: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._session = session
        self._url = f"{control_url}/internal/routes"
        self._name = name
        self._headers = {"Authorization": f"Bearer {key}"}
        self._cache = cache
        self.library = RetrievalCache(
            session=session, control_url=control_url, headers=self._headers, folder=cache.parent / "retrievals"
        )
        self._lacking = ""
        self._spool = spool
        self._table: RoutingTable | None = None
        self.in_flight: Counter[tuple[str, int]] = Counter()
        self.control_answers = False

    @property
    def table(self) -> RoutingTable:
        """The table. Raises NotReady before the first one came."""
        if self._table is None:
            raise NotReady("The gateway has no routing table yet.", hint="Start control, which sends it.")
        return self._table

    @property
    def keys(self) -> tuple[Grant, ...]:
        """The keys that came with the table; none before the first one."""
        return self._table.keys if self._table else ()

    @property
    def ready(self) -> bool:
        """Whether requests can be answered."""
        return self._table is not None

    def load_cache(self) -> None:
        """Takes the last table from disk, so that a start needs no control."""
        if not self._cache.is_file():
            return
        try:
            table = RoutingTable.from_json(self._cache.read_text(encoding="utf-8"))
            self.library.load(table.retrievals())
            self._table = table
        except (ValueError, KeyError, TypeError, IntegrityFailed) as error:
            log.warning("the table on disk cannot be read (%s); waiting for control's", error)

    async def follow(self) -> None:
        """Asks control for a newer table, forever."""
        while True:
            try:
                await self._poll()
                self.control_answers = True
            except (IntegrityFailed, Unreachable) as error:
                self.control_answers = True
                if str(error) != self._lacking:
                    log.error("control's newest table cannot be used yet: %s Serving goes on with the last one.", error)
                self._lacking = str(error)
                await asyncio.sleep(RETRY_SECONDS)
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
                if self.control_answers:
                    log.warning("control does not answer (%s); serving goes on with the last table", error)
                self.control_answers = False
                await asyncio.sleep(RETRY_SECONDS)

    async def _poll(self) -> None:
        report = {
            "gateway": self._name,
            "have": self._table.etag if self._table and self.control_answers else "",
            "in_flight": [[model, version, n] for (model, version), n in self.in_flight.items()],
            "wait_s": POLL_SECONDS,
            **self._spool(),
        }
        timeout = aiohttp.ClientTimeout(total=POLL_SECONDS + 10)
        async with self._session.post(self._url, json=report, headers=self._headers, timeout=timeout) as response:
            if response.status == 204:
                return
            response.raise_for_status()
            text = await response.text()
        table = RoutingTable.from_json(text)
        await self.library.prepare(table.retrievals())
        self._lacking = ""
        self._apply(table)
        self.library.keep_only(table.retrievals())

    def _apply(self, table: RoutingTable) -> None:
        started = time.perf_counter()
        self._table = table  # one assignment: a request sees the old table or the new one, never a mixture
        try:
            self._keep(table)
        except OSError as error:
            log.error("the routing table serves, but the disk does not take it: %s", error)
        log.info("routing table %s applied in %.1f ms", table.etag, (time.perf_counter() - started) * 1000)

    def _keep(self, table: RoutingTable) -> None:
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._cache.with_suffix(".part")
        with scratch.open("w", encoding="utf-8") as file:
            file.write(table.to_json())
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._cache)
