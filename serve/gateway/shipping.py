"""Ship the gateway's spool segments to control, in order.

Control decides how far it has read, so a row arrives once even if its bytes are sent again.
"""

import asyncio
import contextlib
import logging
import time

import aiohttp

from core.spool import Segment, SpoolWriter, read_from, segments

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
IDLE_SECONDS = 0.2
RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.01


class Shipper:
    """Send appended bytes, oldest first, and delete a finished segment after control has ingested it."""

    def __init__(
        self, *, session: aiohttp.ClientSession, control_url: str, name: str, key: str, spool: SpoolWriter
    ) -> None:
        self._session = session
        self._url = f"{control_url}/internal/spool/{name}"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
        self._spool = spool
        self._sent: dict[int, int] = {}
        self._failing = False
        self._flush_requested = asyncio.Event()

    @property
    def unshipped(self) -> int:
        """Number of bytes that control has not ingested."""
        return sum(s.path.stat().st_size - self._sent.get(s.number, 0) for s in segments(self._spool.folder))

    async def run(self) -> None:
        """Ships forever."""
        self._flush_requested = asyncio.Event()  # one of this loop
        while True:
            try:
                moved = [await self._ship(segment) for segment in segments(self._spool.folder)]
                self._failing = False
                await self._rest(any(moved))
            except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
                log.debug("control takes no spool at the moment: %s", error)
                self._failing = True
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                # After any error the loop goes on, or later records would wait for the next start.
                log.exception("the spool could not be shipped; trying again")
                self._failing = True
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self, seconds: float) -> bool:
        """Waits, so long at most, until control has all that is spooled now; returns whether it has."""
        found = segments(self._spool.folder)
        if not found:
            return True
        newest, size = found[-1].number, found[-1].path.stat().st_size
        deadline = time.monotonic() + seconds
        while any(s.number < newest for s in segments(self._spool.folder)) or self._sent.get(newest, 0) < size:
            if self._failing or time.monotonic() > deadline:
                return False
            self._flush_requested.set()
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _rest(self, moved: bool) -> None:
        """Wait a moment, or until a flush is requested. Do not wait while there is more."""
        self._flush_requested.clear()
        if moved:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self._flush_requested.wait()

    async def _ship(self, segment: Segment) -> bool:
        """Sends one piece of a segment; returns whether there was something to send."""
        offset = self._sent.get(segment.number, 0)
        data = read_from(segment.path, offset, CHUNK)
        finished = segment.number < self._spool.current
        if not data:
            if finished:
                self._forget(segment)
            return False
        url = f"{self._url}/{segment.number}?offset={offset}"
        async with self._session.post(url, data=data, headers=self._headers) as response:
            if response.status not in (200, 409):
                response.raise_for_status()
            taken = int((await response.json())["offset"])
        self._sent[segment.number] = taken
        if taken == offset and finished and response.status == 200:
            log.warning("segment %d ends in a torn frame of %d bytes, which is dropped", segment.number, len(data))
            self._forget(segment)
            return False
        return taken != offset

    def _forget(self, segment: Segment) -> None:
        segment.path.unlink()
        self._sent.pop(segment.number, None)
