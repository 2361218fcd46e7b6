"""Promote and roll back under load on the real stack: `python -m bench.switch`.

The result says which version answered when, and how many requests failed. Then two people do the same act at the same
moment, again and again: one must win, the other must get 409, and the ledger must have one row per act that won.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

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


def act_to(version: int) -> tuple[str, dict[str, Any]]:
    """The route and the body of a promotion to version 1, or of the rollback from it."""
    return ("promote", {"version": 1}) if version else ("rollback", {})


def switch(stack: LiveStack, to: int) -> Switched:
    """A promotion to version 1, or the rollback from it."""
    act, said = act_to(to)
    asked = time.monotonic()
    done = stack.control.post(f"/api/models/{MODEL}/{act}", said | {"actor": "bench"})
    assert done["complete"] and done["gateways"] == 1, done
    return Switched(asked, time.monotonic(), to, done["ms"])


def race(stack: LiveStack, acts: int) -> dict[str, int]:
    """Pairs of people who do the same act at once: how many acts won, got 409 or another status.

    `ledger_rows` counts decisions. Each switch also has a row that says when the gateways served it, which is not
    counted.
    """
    with httpx.Client(base_url=stack.settings.control_url, headers=stack.bearer("ops"), timeout=60) as http:

        def rows() -> int:
            found = http.get("/api/promotions", params={"model": MODEL, "limit": 10_000}).raise_for_status().json()
            return sum(row["verdict"] in ("promoted", "rolled_back") for row in found)

        def act(person: int, to: int) -> int:
            route, said = act_to(to)
            return http.post(f"/api/models/{MODEL}/{route}", json=said | {"comment": f"person {person}"}).status_code

        before, statuses = rows(), Counter[int]()
        with ThreadPoolExecutor(2) as people:
            for number in range(acts // 2):
                to = 1 - stack.model(MODEL)["champion"]
                statuses.update(people.map(act, (1, 2), (to, to)))
                if number % 50 == 49:
                    say(f"{2 * number + 2} acts: {dict(statuses)}")
        other = sum(statuses.values()) - statuses[200] - statuses[409]
        return {"won": statuses[200], "conflicts": statuses[409], "other": other, "ledger_rows": rows() - before}


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
            too_late = late(users, switches)
            raced = race(stack, options.acts)
    finally:
        stack.stop()
    answered = {asked.version for asked in users.asked if asked.version is not None}
    assert answered == {0, 1}, answered
    return {
        "failed": sum(asked.status != 200 for asked in users.asked),
        "switch_ms": round(p95([one.ms for one in switches]), 1),
        "requests": len(users.asked),
        "late": too_late,
        "switches": len(switches),
        "clients": options.clients,
        "acts": raced,
    }


def is_good(found: dict[str, Any]) -> bool:
    """Whether no request failed or was late, and of each pair of acts one won and is in the ledger, once."""
    acts = found["acts"]
    alone = acts["won"] == acts["conflicts"] == acts["ledger_rows"] and not acts["other"]
    return alone and not found["failed"] and not found["late"]


def main() -> None:
    """Runs it; the last line of output is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=20, help="back and forth")
    parser.add_argument("--acts", type=int, default=500, help="acts of two people at once, after the switches")
    parser.add_argument("--clients", type=int, default=16, help="users at once")
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between a user's requests")
    parser.add_argument("--seconds", type=float, default=4.0, help="between two switches")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="switch-") as folder:
        found = run(options, Path(folder))
    print(json.dumps(found))
    sys.exit(0 if is_good(found) else 1)


if __name__ == "__main__":
    main()
