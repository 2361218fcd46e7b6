"""The note of the processes that `loraloop up` has started, and the end of orphans.

Orphans are those that an `up` left running because it was killed itself. It must not know what they do.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.durable_file import replace_content
from ops.local.process_identity import born

log = logging.getLogger(__name__)

NOTE = "up.children.json"
GRACE_SECONDS = 15.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """One process of ours: its name, its id, and when it started, in ticks since a boot."""

    name: str
    pid: int
    born: str


def note(folder: Path, processes: Iterable[tuple[str, int]]) -> None:
    """Writes down who runs now. A disk that does not take it costs the note and nothing else."""
    marks = [asdict(Mark(name, pid, start)) for name, pid in processes if (start := born(pid, leader=True))]
    try:
        replace_content(folder / NOTE, json.dumps(marks, indent=1).encode())
    except OSError as error:
        log.error("who runs cannot be written down: %s", error)


def forget(folder: Path) -> None:
    """Removes the note: nobody is left."""
    (folder / NOTE).unlink(missing_ok=True)


def end(folder: Path) -> list[Mark]:
    """Ends those of the note that still run, asked first and then killed, each with all that it started."""
    left = running(folder)
    for mark in left:
        os.kill(mark.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(born(mark.pid, leader=True) == mark.born for mark in left) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for mark in left:
        try:
            os.killpg(mark.pid, signal.SIGKILL)  # an id stays taken as long as its group has a member
        except ProcessLookupError:
            pass
    forget(folder)
    return left


def running(folder: Path) -> list[Mark]:
    """Those of the note that still run."""
    return [mark for mark in _noted(folder / NOTE) if born(mark.pid, leader=True) == mark.born]


def _noted(path: Path) -> list[Mark]:
    try:
        return [Mark(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, TypeError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return []
