"""Rotation of the log files that `loraloop up` makes: a full file is copied aside and emptied.

Processes hold their file open and append to it, and vLLM cannot be made to open another one. So the file is emptied,
not replaced. A line that is written between the end of the copy and the emptying, some microseconds, is lost.
"""

import logging
import shutil
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024


def rotate_full(folder: Path, *, most_bytes: int, keep: int) -> list[Path]:
    """Rotate each `NAME.log` of more than `most_bytes`. Returns those that were.

    `NAME.log.1` is the newest of at most `keep` older files. A disk that does not take the copy costs nothing: the log
    stays as it is.
    """
    rotated = []
    for file in sorted(folder.glob("*.log")):
        try:
            if file.stat().st_size > most_bytes:
                _rotate(file, keep)
                rotated.append(file)
        except OSError as error:
            log.error("%s cannot be rotated: %s", file, error)
    return rotated


def older(file: Path) -> list[Path]:
    """The rotated files of a log that are there, the oldest first."""
    found: list[Path] = []
    while (one := numbered(file, len(found) + 1)).is_file():
        found.append(one)
    return found[::-1]


def numbered(file: Path, number: int) -> Path:
    """The name of a rotated file."""
    return file.with_name(f"{file.name}.{number}")


def _rotate(file: Path, keep: int) -> None:
    if keep:
        held = older(file)[::-1]
        for one in held[keep - 1 :]:
            one.unlink()
        # Only up to the first gap: an attempt that failed left one, and must not move files again.
        for number in range(min(len(held), keep - 1), 0, -1):
            numbered(file, number).replace(numbered(file, number + 1))
    with file.open("rb+", buffering=0) as source:
        if keep:
            _copy(source, numbered(file, 1))
        source.truncate(0)


def _copy(source: IO[bytes], target: Path) -> None:
    """Copy a file that grows, up to its end."""
    try:
        with target.open("wb") as copy:
            shutil.copyfileobj(source, copy, CHUNK)
            copy.flush()
            # What was written while the first copy ran; this is short, so nearly nothing is written in its time.
            shutil.copyfileobj(source, copy, CHUNK)
    except OSError:
        target.unlink(missing_ok=True)
        raise
