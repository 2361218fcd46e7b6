"""Reading a spool back, and disks that fail."""

import errno
import os
from pathlib import Path

from core.spool import read_frames, segments


def payloads_of(data: bytes) -> list[bytes]:
    return [found.payload for found in read_frames(data).whole]


def whole(folder: Path) -> list[bytes]:
    return [payload for segment in segments(folder) for payload in payloads_of(segment.path.read_bytes())]


def half_write(fd: int, data: bytes, real: object = os.write) -> int:
    real(fd, data[: len(data) // 2])  # type: ignore[operator]
    return len(data) // 2


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")
