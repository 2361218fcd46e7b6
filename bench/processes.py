"""Free ports for benchmarks, and the memory and CPU time that processes used."""

import re
import socket
from pathlib import Path

import psutil

PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory_mib(pid: int) -> int:
    """The most resident memory that a process and those it started have had, summed, in MiB."""
    root = psutil.Process(pid)
    total = 0
    for process in (root, *root.children(recursive=True)):
        found = PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
        total += int(found[1]) if found else 0
    return total // 1024


def cpu_s(pid: int) -> float:
    """The CPU time that all threads of a process have had, in seconds."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
