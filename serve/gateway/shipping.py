"""Ship the gateway's spool segments to control, in order.

Control decides how far it has read, so a row arrives once even if its bytes are sent again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import aiohttp

from core.spool import Segment, read_from, segments

log = logging.getLogger(__name__)

# The larger a piece, the fewer transactions control needs. A segment is about as large.
CHUNK = 16 * 1024 * 1024
IDLE_SECONDS = 0.2
RETRY_SECONDS = 1.0
DAMAGED = ".bad"
# A segment whose bytes control has is deleted after this time, because it has texts of users.
LONGEST_SEGMENT_S = 60.0
# While control commits a piece of one segment, it decodes a piece of the other.
SEGMENTS_AT_ONCE = 2


class ShippedSpool(Protocol):
    """What a shipper needs of a spool. `current` is the number of the segment that is written."""

    folder: Path

    @property
    def current(self) -> int: ...

    def age(self) -> float: ...

    def roll(self) -> None: ...


class EndedSpool:
    """A spool whose writer ended: each of its segments is finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current = 1 + max((segment.number for segment in segments(folder)), default=0)

    def age(self) -> float:
        """No segment is written."""
        return 0.0

    def roll(self) -> None:
        """No segment is written."""


class Shipper:
    """Send appended bytes, oldest segment first, and delete a finished segment after control has ingested it.

    The segment that is written is finished after a minute, once control has all of it. A segment that control refuses
    is tried again later and does not stop those after it. A segment in which control found damaged bytes is kept under
    another name, for a person to inspect.
    """

    def __init__(
        self, *, session: aiohttp.ClientSession, control_url: str, name: str, key: str, spool: ShippedSpool
    ) -> None:
        self._session = session
        self._url = f"{control_url}/internal/spool/{name}"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/octet-stream"}
        self._spool = spool
        self._sent: dict[int, int] = {}
        self._damaged: set[int] = set()
        self._refused: set[int] = set()
        self._failing = False
        self._flush_requested = asyncio.Event()
        # Set for a moment whenever control answered, or could not.
        self._answered = asyncio.Event()

    @property
    def unshipped(self) -> int:
        """Number of bytes that control has not ingested."""
        return sum(s.path.stat().st_size - self._sent.get(s.number, 0) for s in segments(self._spool.folder))

    @property
    def damaged(self) -> int:
        """Number of segments that are kept because some of their bytes are damaged."""
        return len(list(self._spool.folder.glob(f"*{DAMAGED}")))

    async def run(self) -> None:
        """Ships forever."""
        self._flush_requested, self._answered = asyncio.Event(), asyncio.Event()  # of this loop
        while True:
            # What a flush requests while segments are read is done in the next round, without a rest.
            self._flush_requested.clear()
            try:
                await self._rest(await self._ship_all())
            except (aiohttp.ClientError, OSError, ValueError, KeyError) as error:
                log.debug("control takes no spool at the moment: %s", error)
                await self._rest_failed()
            except Exception:
                # After any error the loop goes on, or later records would wait for the next start.
                log.exception("the spool could not be shipped; trying again")
                await self._rest_failed()

    async def flush(self, seconds: float) -> bool:
        """Waits, so long at most, until control has all that is spooled now; returns whether it has."""
        found = segments(self._spool.folder)
        if not found:
            return True
        newest, size = found[-1].number, found[-1].path.stat().st_size
        deadline = time.monotonic() + seconds
        while any(
            s.number < newest or (s.number == newest and self._sent.get(newest, 0) < size)
            for s in segments(self._spool.folder)
        ):
            left = deadline - time.monotonic()
            if self._failing or left < 0:
                return False
            self._flush_requested.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, IDLE_SECONDS)):
                    await self._answered.wait()
        return True

    def _tell(self) -> None:
        """Wake every flush that waits."""
        self._answered.set()
        self._answered.clear()

    async def _rest_failed(self) -> None:
        """Wait before the next attempt."""
        self._failing = True
        self._tell()
        await asyncio.sleep(RETRY_SECONDS)

    async def _rest(self, moved: bool) -> None:
        """Wait a moment, or until a flush is requested. Do not wait while there is more."""
        if moved:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self._flush_requested.wait()

    async def _ship_all(self) -> bool:
        """Send every segment to its end, oldest first; returns whether there was something to send."""
        waiting = iter(segments(self._spool.folder))
        both = [self._ship_each(waiting) for _ in range(SEGMENTS_AT_ONCE)]
        found = await asyncio.gather(*both, return_exceptions=True)
        refused: list[aiohttp.ClientResponseError] = []
        moved = False
        for one in found:
            if isinstance(one, BaseException):
                raise one
            moved, refused = moved or one[0], refused + one[1]
        if refused and not moved:
            raise refused[0]
        self._failing = bool(refused)
        return moved

    async def _ship_each(self, waiting: Iterator[Segment]) -> tuple[bool, list[aiohttp.ClientResponseError]]:
        """Send segments to their ends; returns whether there was something to send, and why control refused some."""
        moved, refused = False, []
        for segment in waiting:
            try:
                while await self._ship(segment):
                    moved = True
            except aiohttp.ClientResponseError as error:
                if error.status in (401, 403):  # not the segment is refused, but this gateway's key
                    raise
                refused.append(error)
                if segment.number not in self._refused:
                    log.error("control refuses segment %d: %d %s", segment.number, error.status, error.message)
                    self._refused.add(segment.number)
        return moved, refused

    async def _ship(self, segment: Segment) -> bool:
        """Send one piece of a segment; returns whether there was something to send."""
        if not segment.path.exists():
            return False
        offset = self._sent.get(segment.number, 0)
        finished = segment.number < self._spool.current
        data = await asyncio.to_thread(read_from, segment.path, offset, CHUNK)
        if not data:
            if finished:
                self._forget(segment)
            elif self._spool.age() > LONGEST_SEGMENT_S:
                self._spool.roll()
            return False
        last = finished and offset + len(data) >= segment.path.stat().st_size
        url = f"{self._url}/{segment.number}?offset={offset}" + ("&finished=true" if last else "")
        async with self._session.post(url, data=data, headers=self._headers) as response:
            if response.status not in (200, 409):
                response.raise_for_status()
            answer = await response.json()
        taken = self._sent[segment.number] = int(answer["offset"])
        self._tell()
        if answer.get("damaged"):
            log.error("segment %d has %d damaged ranges; the rest is ingested", segment.number, answer["damaged"])
            self._damaged.add(segment.number)
        if last and response.status == 200:
            if torn := offset + len(data) - taken:
                log.warning("segment %d ends in a torn frame of %d bytes, which is dropped", segment.number, torn)
            self._forget(segment)
        return taken != offset

    def _forget(self, segment: Segment) -> None:
        if segment.number in self._damaged:
            segment.path.rename(segment.path.with_suffix(DAMAGED))
        else:
            segment.path.unlink()
        self._sent.pop(segment.number, None)
        self._damaged.discard(segment.number)
        self._refused.discard(segment.number)
