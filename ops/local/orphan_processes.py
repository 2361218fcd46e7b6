"""Orphans: the processes that a `loraloop up` left running because it was killed itself.

It owns the note of who they are and their end; it must not know what they do. A process is known by its id, the
moment it started and the boot of the machine, which together are never used twice, even if the clock changes.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

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


def born(pid: int) -> str | None:
    """Boot and start of a process that leads its own session, as ours do; None for any other or one that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, session, ticks = fields[0], fields[3], fields[19]
    if state in "ZX" or int(session) != pid:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {ticks}"


def note(folder: Path, processes: Iterable[tuple[str, int]]) -> None:
    """Writes down who runs now. A disk that does not take it costs the note and nothing else."""
    marks = [asdict(Mark(name, pid, start)) for name, pid in processes if (start := born(pid))]
    part = folder / f"{NOTE}.part"
    try:
        part.write_text(json.dumps(marks, indent=1), encoding="utf-8")
        part.replace(folder / NOTE)
    except OSError as error:
        log.error("who runs cannot be written down: %s", error)


def forget(folder: Path) -> None:
    """Removes the note: nobody is left."""
    (folder / NOTE).unlink(missing_ok=True)


def end(folder: Path) -> list[Mark]:
    """Ends those of the note that still run, asked first and then killed, each with all that it started."""
    left = [mark for mark in _noted(folder / NOTE) if born(mark.pid) == mark.born]
    for mark in left:
        os.kill(mark.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(born(mark.pid) == mark.born for mark in left) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for mark in left:
        try:
            os.killpg(mark.pid, signal.SIGKILL)  # an id stays taken as long as its group has a member
        except ProcessLookupError:
            pass
    forget(folder)
    return left


def _noted(path: Path) -> list[Mark]:
    try:
        return [Mark(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return []
