"""Which process an id belongs to, so that no signal reaches a process that has the id of one that ended.

A process is known by its id, the moment it started and the boot of the machine, which together are never used twice,
even if the clock changes. Linux only: it reads /proc.
"""

import os
import select
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path


def born(pid: int, *, leader: bool = False) -> str | None:
    """Boot and start of a process in clock ticks, None if it has ended. With `leader`, only of a session's leader."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, session, ticks = fields[0], fields[3], fields[19]
    if state in "ZX" or (leader and int(session) != pid):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {ticks}"


def started_at(birth: str) -> datetime:
    """The time at which a process of this boot started, in UTC, to about a second."""
    seconds = int(birth.split()[1]) / os.sysconf("SC_CLK_TCK")
    return datetime.now(UTC) - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME) - seconds)


class RunningProcess:
    """A process that was found running. Its id cannot be used again while this is open."""

    def __init__(self, pid: int, birth: str) -> None:
        """Raises ProcessLookupError if the process has ended, also if another one has its id now."""
        self._descriptor = os.pidfd_open(pid)
        if born(pid) != birth:
            self.close()
            raise ProcessLookupError(pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal. One that has ended needs none."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            pass

    def ended(self, seconds: float) -> bool:
        """Wait for its end for so long. Returns whether it has ended."""
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    def close(self) -> None:
        """Let the id be used again."""
        os.close(self._descriptor)
