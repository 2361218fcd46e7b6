"""The spool: append-only segment files that make an acknowledged write survive a crash.

A segment is a sequence of frames. A frame is a little-endian header and a payload. The header contains two unsigned
32-bit numbers: the payload's length and its CRC-32. A payload is never empty, because a power cut may leave zeros,
which would read as an empty payload. A new writer never appends to an old segment, so only the end of a segment
can be torn. The number of a segment is the time of its creation in microseconds. Numbers are never reused, even
after the folder was emptied, because the receiver remembers its position by number.
"""

import asyncio
import errno
import logging
import os
import re
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from core.durable_file import sync
from core.errors import SpoolFull

log = logging.getLogger(__name__)

HEADER = struct.Struct("<II")
MAX_PAYLOAD = 64 * 1024 * 1024
SUFFIX = ".seg"
# What every payload begins with: a record as JSON, or a list of records. See core/record_codec.py.
FIRST_BYTES = re.compile(rb'\[?\{"kind":"')


def frame(payload: bytes) -> bytes:
    """The bytes that stand for one payload in a segment."""
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


class Frame(NamedTuple):
    """A payload and where it is, in bytes from the beginning of the data."""

    payload: bytes
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Frames:
    """The whole frames of some data, and the ranges between them that are damaged.

    `end` is where the data is read to: what follows is the beginning of a frame that is not complete yet, or was
    never completed.
    """

    whole: list[Frame]
    damaged: list[range]
    end: int


def read_frames(data: bytes, *, finished: bool = False) -> Frames:
    """Read the frames of a segment's data, from the beginning of a frame.

    A damaged frame costs itself only: reading goes on at the next whole frame. A frame that ends after the data is
    incomplete, and reading stops there. In the last data of a segment that is `finished`, this frame may also have
    a damaged length, so the next whole frame is searched for there as well.
    """
    whole: list[Frame] = []
    damaged: list[range] = []
    offset = 0
    while offset + HEADER.size <= len(data):
        found = _frame_at(data, offset)
        if found is None and (finished or not _is_incomplete(data, offset)):
            found = _next_frame(data, offset + 1)
            if found is not None:
                damaged.append(range(offset, found.begin))
        if found is None:
            break
        whole.append(found)
        offset = found.end
    return Frames(whole, damaged, offset)


def _frame_at(data: bytes, offset: int) -> Frame | None:
    length, checksum = HEADER.unpack_from(data, offset)
    begin, end = offset + HEADER.size, offset + HEADER.size + length
    if not 0 < length <= MAX_PAYLOAD or end > len(data) or zlib.crc32(memoryview(data)[begin:end]) != checksum:
        return None
    return Frame(data[begin:end], offset, end)


def _is_incomplete(data: bytes, offset: int) -> bool:
    length, _ = HEADER.unpack_from(data, offset)
    return 0 < length <= MAX_PAYLOAD and offset + HEADER.size + length > len(data)


def _next_frame(data: bytes, begin: int) -> Frame | None:
    """The first whole frame from `begin` on.

    Only offsets before a payload's first bytes are tried. Testing every offset would hash the data once per byte.
    """
    for found in FIRST_BYTES.finditer(data, begin + HEADER.size):
        frame = _frame_at(data, found.start() - HEADER.size)
        if frame is not None:
            return frame
    return None


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment file: its number and where it is."""

    number: int
    path: Path


def read_from(path: Path, offset: int, at_least: int) -> bytes:
    """Bytes of a segment from an offset: `at_least` many, or more if the first frame is longer."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(at_least)
        if len(data) >= HEADER.size:
            length = HEADER.size + min(HEADER.unpack_from(data)[0], MAX_PAYLOAD)
            if length > len(data):
                data += file.read(length - len(data))
    return data


def segments(folder: Path) -> list[Segment]:
    """The folder's segments, oldest first."""
    found = [Segment(int(path.stem), path) for path in folder.glob(f"*{SUFFIX}")]
    return sorted(found, key=lambda segment: segment.number)


class SpoolWriter:
    """Appends payloads to one segment after another, and says when they are on the disk.

    `append` returns once the operating system has the bytes, which survives kill -9 of this process;
    `durable` returns once an fsync covers them, which survives a power cut. A frame is whole or not there,
    so what must stand together goes into one payload. A disk that is full from the start is no error yet:
    every `append` tries it again. Segments may have `max_bytes` together; above it, `append` raises SpoolFull until
    some are shipped and deleted.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = 16 * 1024 * 1024, max_bytes: int | None = None) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.max_bytes = max_bytes
        existing = segments(folder)
        self._number = existing[-1].number if existing else 0
        self._fd = -1
        self._size = 0
        self._began = 0  # the last ticket before this segment
        self._appended = 0
        self._synced = 0
        self._void = range(0)  # tickets that no fsync had covered when one failed: they stay without
        self._syncing: asyncio.Task[None] | None = None
        self._broken = False  # the content of the segment is uncertain: nothing may be appended
        self.refused = 0
        try:
            self._open_next()
        except OSError as error:
            log.error("the spool at %s cannot be opened yet: %s", folder, error)
            self._number += 1  # existing segments are finished, and may be shipped and deleted

    @property
    def current(self) -> int:
        """The number of the segment that is still being written."""
        return self._number

    def spooled_bytes(self) -> int:
        """Bytes of all segments, those that are ingested in part included."""
        return sum(segment.path.stat().st_size for segment in segments(self.folder))

    def age(self) -> float:
        """Seconds since the current segment began, 0 while it is empty."""
        return time.time() - self._number / 1e6 if self._size else 0.0

    def roll(self) -> None:
        """Begin a new segment, so that the current one can be shipped to its end and deleted. Raises SpoolFull."""
        self._roll()

    def append(self, payload: bytes) -> int:
        """Writes one frame and returns a ticket for `durable`. Raises SpoolFull when the disk is full."""
        if len(payload) > MAX_PAYLOAD:
            raise SpoolFull(f"A record of {len(payload)} bytes is longer than the spool takes.")
        if self._fd < 0 or self._broken or self._size >= self.segment_bytes:
            self._roll()
        data = frame(payload)
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self._discard_torn_frame(error)
        else:
            if written != len(data):
                self._discard_torn_frame(OSError("short write"))
        self._size += len(data)
        self._appended += 1
        return self._appended

    async def durable(self, ticket: int) -> None:
        """Returns once everything up to the ticket is on the disk; one fsync serves all who wait.

        Raises SpoolFull when the disk refused: then append again for a new ticket.
        """
        while ticket not in self._void:
            if self._synced >= ticket:
                return
            if self._syncing is None:
                self._syncing = asyncio.create_task(self._sync())
            await asyncio.shield(self._syncing)
        raise SpoolFull(
            f"The spool at {self.folder.name} could not be written to disk.",
            hint="Free space on its disk; the request may be sent again.",
        )

    async def _sync(self) -> None:
        before, covered, fd = self._synced, self._appended, self._fd
        try:
            await asyncio.to_thread(os.fdatasync, fd)
            self._synced = max(self._synced, covered)
        except OSError as error:
            # If the segment changed during the fsync, all of it is uncertain: only one fsync reports lost pages.
            self._give_up(error, before, self._appended if fd == self._fd else self._began)
        finally:
            self._syncing = None

    def _give_up(self, error: OSError, synced: int, last: int) -> None:
        # The kernel tells of lost pages once; a second fsync would succeed over a hole.
        log.error("the spool at %s could not be written to disk: %s", self.folder, error)
        self._void = range(synced + 1, last + 1)
        self._broken = self._broken or last == self._appended

    def _roll(self) -> None:
        old = self._fd
        if old >= 0 and self._appended not in self._void:
            # The old segment is made durable before it is closed, because `_sync` syncs only the newest file.
            try:
                os.fdatasync(old)
                self._synced = self._appended
            except OSError as error:
                self._give_up(error, self._synced, self._appended)
        try:
            self._open_next()
        except OSError as error:
            raise self._full(error) from error
        self._broken = False
        if old >= 0:
            self._close(old)

    def _open_next(self) -> None:
        """Changes to a new segment, or leaves all as it was when the disk or the bound refuses one."""
        _make_folder(self.folder)
        if self.max_bytes is not None and self.spooled_bytes() > self.max_bytes - self.segment_bytes:
            raise OSError(errno.EDQUOT, f"it has reached its limit of {self.max_bytes:,} bytes")
        number = max(self._number + 1, time.time_ns() // 1000)
        path = self.folder / f"{number:020d}{SUFFIX}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            sync(self.folder)  # the new name itself must survive a power cut
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._number, self._fd, self._size, self._began = number, fd, 0, self._appended

    def _close(self, fd: int) -> None:
        if self._syncing is None:
            os.close(fd)
        else:
            # A thread may be inside fdatasync on this descriptor: closing it now could hand its number on.
            self._syncing.add_done_callback(lambda _: os.close(fd))

    def _discard_torn_frame(self, error: OSError) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._broken = True
        raise self._full(error) from error

    def _full(self, error: OSError) -> SpoolFull:
        self.refused += 1
        return SpoolFull(
            f"The spool at {self.folder.name} takes no more bytes: {error.strerror or error}.",
            hint="Free space on its disk, or find out why control ingests nothing; the request may be sent again.",
        )

    def close(self) -> None:
        """Makes everything durable and closes the segment."""
        if self._fd >= 0:
            os.fdatasync(self._fd)
            self._close(self._fd)
            self._fd = -1


def _make_folder(folder: Path) -> None:
    """Makes a folder whose name, with those above it, survives a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)
