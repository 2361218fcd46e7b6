"""The gateway's copy of the routing table, updated by a long poll and kept on disk.

Without control, the gateway continues with its last table. A model's route is used only after the retrievals that it
names are available; keys and other models do not wait for it.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp

from core.api_keys import Grant
from core.durable_file import replace_content
from core.errors import ControlDown
from serve.routing.retrieval_cache import RetrievalCache
from serve.routing.table import RoutingTable, etag_of

log = logging.getLogger(__name__)

POLL_SECONDS = 20
RETRY_SECONDS = 1.0
RETRIEVALS = "retrievals"


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
        first_cache: Path | None = None,
        spool: Callable[[], dict[str, int]] = dict,
    ) -> None:
        self._session = session
        self._url = f"{control_url}/internal/routes"
        self._name = name
        self._headers = {"Authorization": f"Bearer {key}"}
        self._cache = cache
        # Where the gateway's first worker keeps its table: another worker may be new and has none.
        self._first_cache = first_cache
        self.library = RetrievalCache(
            session=session,
            control_url=control_url,
            headers=self._headers,
            folder=cache.parent / RETRIEVALS,
            first=first_cache.parent / RETRIEVALS if first_cache else None,
        )
        self._lacking = ""
        self._spool = spool
        self._boot = secrets.token_hex(8)
        self._table: RoutingTable | None = None
        self._etag = ""
        self._waiting: set[str] = set()
        self.in_flight: Counter[tuple[str, int]] = Counter()
        self.control_answers = False

    @property
    def table(self) -> RoutingTable:
        """The table. Raises ControlDown before the first one came."""
        if self._table is None:
            raise ControlDown("The gateway has no routing table yet.", hint="Start control, which sends it.")
        return self._table

    @property
    def keys(self) -> tuple[Grant, ...]:
        """The keys that came with the table; none before the first one."""
        return self._table.keys if self._table else ()

    @property
    def ready(self) -> bool:
        """Whether requests can be answered."""
        return self._table is not None and bool(self._table.models or not self._waiting)

    def load_cache(self) -> None:
        """Takes the last table from disk, so that a start needs no control."""
        found = [path for path in (self._cache, self._first_cache) if path is not None and path.is_file()]
        if not found:
            return
        # With `gateway.workers` lowered for a while, a worker's own table is older than that of the first.
        cache = max(found, key=lambda path: path.stat().st_mtime_ns)
        try:
            table = RoutingTable.from_json(cache.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("the table on disk cannot be read (%s); waiting for control's", error)
            return
        self.library.load(table.retrievals())
        self.library.withhold(table.retrievals(), table.withheld)
        self._table, self._waiting = table.usable(self.library.has, None)

    async def follow(self) -> None:
        """Asks control for a newer table, forever."""
        while True:
            try:
                faults = await self._poll()
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
                if self.control_answers:
                    log.warning("control does not answer (%s); serving goes on with the last table", error)
                self.control_answers = False
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # After any error the loop goes on, or later changes of routes and keys would not arrive.
                log.exception("control's table cannot be used; serving goes on with the last one")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.control_answers = True
                said = " ".join(faults)
                if faults and said != self._lacking:
                    log.error("%s wait for their new routes: %s", ", ".join(sorted(self._waiting)), said)
                self._lacking = said
                if faults:
                    await asyncio.sleep(RETRY_SECONDS)

    async def _poll(self) -> list[str]:
        """Ask once. Return why some models cannot have their new routes yet."""
        report = {
            "gateway": self._name,
            "boot": self._boot,
            # With something missing, control is to send the table once more.
            "have": self._etag if self.control_answers and not self._waiting else "",
            "in_flight": [[model, version, n] for (model, version), n in self.in_flight.items()],
            "wait_s": POLL_SECONDS,
            **self._spool(),
        }
        timeout = aiohttp.ClientTimeout(total=POLL_SECONDS + 10)
        async with self._session.post(self._url, json=report, headers=self._headers, timeout=timeout) as response:
            if response.status == 204:
                return []
            response.raise_for_status()
            text = await response.text()
        table = await asyncio.to_thread(RoutingTable.from_json, text)
        self._apply(table, text)
        faults: list[str] = []
        if self._waiting or any(not self.library.has(name) for name in table.retrievals()):
            faults = await self.library.prepare(table.retrievals())
            self._apply(table, text)
        await self._keep_on_disk(text)
        if self._table is not None:
            self.library.keep_only(self._table.retrievals() | table.retrievals())
        return faults if self._waiting else []

    def _apply(self, table: RoutingTable, text: str) -> None:
        started = time.perf_counter()
        usable, self._waiting = table.usable(self.library.has, self._table)
        self.library.withhold(table.retrievals(), table.withheld)
        self._etag = etag_of(text)
        self._table = usable  # one assignment: a request sees the old table or the new one, never a mixture
        log.info("routing table %s applied in %.1f ms", self._etag, (time.perf_counter() - started) * 1000)

    async def _keep_on_disk(self, text: str) -> None:
        try:
            await asyncio.to_thread(self._keep, text)
        except OSError as error:
            log.error("the routing table serves, but the disk does not take it: %s", error)

    def _keep(self, text: str) -> None:
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        replace_content(self._cache, text.encode())
