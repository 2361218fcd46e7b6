"""Promote and roll back under load on the real stack: `python -m bench.switch`.

The result says which version answered when, and how many requests failed.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.client_load import ClientLoad, p95
from bench.faults import MODEL, start, train_first
from bench.progress import say
from tools.live_stack import LiveStack

# This many seconds after a switch, no new request may get the previous version.
LATE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Switched:
    """One switch: its start and end (`time.monotonic`), the version that serves after it, ms to the last gateway."""

    asked: float
    at: float
    version: int
    ms: float


def switch(stack: LiveStack, to: int) -> Switched:
    """A promotion to version 1, or the rollback from it."""
    act, said = ("promote", {"version": 1}) if to else ("rollback", {})
    asked = time.monotonic()
    done = stack.control.post(f"/api/models/{MODEL}/{act}", said | {"actor": "bench"})
    assert done["complete"] and done["gateways"] == 1, done
    return Switched(asked, time.monotonic(), to, done["ms"])


def late(users: ClientLoad, switches: list[Switched]) -> int:
    """Requests that began more than a second after a switch was answered, before the next, and got the old version."""
    found = 0
    for one, following in zip(switches, [*switches[1:], None], strict=True):
        until = following.asked if following else float("inf")
        found += sum(
            one.at + LATE_SECONDS < seen.began < until and seen.version not in (None, one.version)
            for seen in users.asked
        )
    return found


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All switches, and what the users saw of them."""
    stack = start(folder)
    try:
        train_first(stack)
        users = ClientLoad(stack.gateway, stack.bearer("app"), MODEL, options.clients, options.pause, votes=False)
        switches = []
        with users.asking():
            for number in range(options.switches):
                time.sleep(options.seconds)
                switches.append(switch(stack, number % 2))
                say(f"switch {number + 1}: version {number % 2} after {switches[-1].ms:.0f} ms; {users.statuses()}")
            time.sleep(options.seconds)
    finally:
        stack.stop()
    answered = {asked.version for asked in users.asked if asked.version is not None}
    assert answered == {0, 1}, answered
    return {
        "failed": sum(asked.status != 200 for asked in users.asked),
        "switch_ms": round(p95([one.ms for one in switches]), 1),
        "requests": len(users.asked),
        "late": late(users, switches),
        "switches": len(switches),
        "clients": options.clients,
    }


def main() -> None:
    """Runs it; the last line of output is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=20, help="back and forth")
    parser.add_argument("--clients", type=int, default=16, help="users at once")
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between a user's requests")
    parser.add_argument("--seconds", type=float, default=4.0, help="between two switches")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="switch-") as folder:
        found = run(options, Path(folder))
    print(json.dumps(found))
    sys.exit(1 if found["failed"] or found["late"] else 0)


if __name__ == "__main__":
    main()
