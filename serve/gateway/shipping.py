"""Shipping: the gateway's spool segments on their way to control.

It owns order and offsets; control alone decides how far it has got, so that a row arrives once however
often its bytes do.
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
    """Sends what was appended, oldest first, and deletes a finished segment once all of it is taken in."""

    def __init__(
        self, *, session: aiohttp.ClientSession, control_url: str, name: str, key: str, spool: SpoolWriter
    ) -> None:
        self._session = session
        self._url = f"{control_url}/internal/spool/{name}"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
        self._spool = spool
        self._sent: dict[int, int] = {}
        self._failing = False
        self._wanted = asyncio.Event()

    @property
    def unshipped(self) -> int:
        """Bytes that control has not taken in."""
        return sum(s.path.stat().st_size - self._sent.get(s.number, 0) for s in segments(self._spool.folder))

    async def run(self) -> None:
        """Ships forever."""
        self._wanted = asyncio.Event()  # one of this loop
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
                # Whatever it is, what is spooled later must not wait for the next start.
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
            self._wanted.set()
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _rest(self, moved: bool) -> None:
        """Waits a moment, or until somebody wants something shipped; not at all while there is more."""
        self._wanted.clear()
        if moved:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self._wanted.wait()

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
