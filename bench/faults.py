"""Kill processes of the real stack at random moments under load: `python -m bench.faults`.

The result counts what was lost or doubled, and how long each recovery took.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psutil

from bench.client_load import ClientLoad, p95
from bench.progress import say
from core.db.store import Store
from core.errors import LoraLoopError
from core.ledger import verify_store
from tools.live_stack import LiveStack, texts
from tools.tiny_model import LABELS, make_base

MODEL = "notes"
RECOVERY_SECONDS = 240
# Between a recovery and the next kill: below `ops.local.restart_delay.STEADY_SECONDS` and well above it.
CALM = (3.0, 9.0)
TRAINING = {
    "schedule": None,
    "min_new_feedback": 10**9,
    "min_labels": 40,
    "rank": 8,
    "epochs": 2,
    "min_steps": 1,
    "max_rows": 120,
    "learning_rate": 0.005,
    "max_length": 64,
    "confirmations": False,
}


def start(folder: Path) -> LiveStack:
    """The stack on a tiny model with an adapter in service, so that an engine that restarts must get it again."""
    evaluation = {"bootstrap": 200, "latency_items": 0}
    model = {
        "labels": list(LABELS),
        "retrain": TRAINING,
        "promotion": {"canary": None},
        "evaluation": evaluation,
        "split": {"train": 0.4, "dev": 0.1},
    }
    stack = LiveStack(folder, {"base_model": str(make_base(folder / "tiny")), "models": {MODEL: model}})
    stack.await_ready()
    return stack


def train_first(stack: LiveStack) -> None:
    """Labels, a whole run, and its candidate in service."""
    stack.simulate_users(MODEL, texts(300, 1, users=300), labels=True)
    stack.wait(lambda: sum(row["n"] for row in stack.control.get("/api/feedback")) >= 600, "the labels in the store")
    retrain(stack)
    decision = stack.wait(lambda: stack.decisions(MODEL), "the first decision", RECOVERY_SECONDS)[0]
    say(f"first run: {decision['verdict']}")
    if stack.model(MODEL)["champion"] == 0:
        stack.control.post(f"/api/models/{MODEL}/promote", {"version": 1, "actor": "bench"})


def retrain(stack: LiveStack) -> None:
    """What `loraloop runs start` asks of control."""
    stack.control.post(f"/api/models/{MODEL}/retrain", {"actor": "bench"})


@dataclass
class Drill:
    """Kills on a running stack, and the seconds until each service was back."""

    stack: LiveStack
    users: ClientLoad
    rng: random.Random
    recovery: dict[str, list[float]] = field(default_factory=dict)

    def kill(self, service: str, word: str, back: Callable[[float], float | None], count: int) -> None:
        """Kill a service several times, each a random time after it recovered."""
        self.recovery[service] = []
        for number in range(count):
            time.sleep(self.rng.uniform(*CALM))
            moment = time.monotonic()
            child(self.stack, word).kill()
            seconds = self._until(lambda moment=moment: back(moment), service) - moment
            self.recovery[service].append(seconds)
            say(f"{service} {number + 1}/{count}: back after {seconds:.1f} s; {self.users.statuses()}")

    def _until(self, fact: Callable[[], float | None], what: str) -> float:
        deadline = time.monotonic() + RECOVERY_SECONDS
        while time.monotonic() < deadline:
            found = fact()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{what} did not come back:\n{(self.stack.folder / 'up.log').read_text()[-2000:]}")

    def answered(self, moment: float) -> float | None:
        """When the first completion came whole that began after a moment."""
        good = self.users.good_after(moment)
        return good.ended if good else None

    def control_ready(self, _: float) -> float | None:
        """Now, if control is ready."""
        return time.monotonic() if ready(f"{self.stack.settings.control_url}/ready") else None

    def kill_trainers(self, count: int) -> None:
        """Kills the trainer of a run; it is back when another trainer works, and its run must not fail."""
        self.recovery["trainer"] = []
        while len(self.recovery["trainer"]) < count:
            known = len(self.stack.decisions(MODEL))
            self._until(self._retrain_accepted, "a new run")
            trainer = self._until_trainer()
            time.sleep(self.rng.uniform(0, 8))
            if not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE:
                self._until(lambda known=known: len(self.stack.decisions(MODEL)) > known, "the decision of a whole run")
                continue
            moment = time.monotonic()
            trainer.kill()
            again = self._until_trainer(other_than=trainer.pid)
            seconds = time.monotonic() - moment
            self._until(lambda known=known: len(self.stack.decisions(MODEL)) > known, "the decision of the run")
            row = self.stack.decisions(MODEL)[known]
            assert row["verdict"] != "failed" and not again.is_running(), row
            self._until(self._closed, "the run's end")
            self.recovery["trainer"].append(seconds)
            say(f"trainer {len(self.recovery['trainer'])}/{count}: another one after {seconds:.1f} s")

    def last_run(self) -> str:
        """One more run, to its decision."""
        known = len(self.stack.decisions(MODEL))
        self._until(self._retrain_accepted, "a new run")
        self._until(lambda: len(self.stack.decisions(MODEL)) > known, "the last decision")
        return str(self.stack.decisions(MODEL)[known]["verdict"])

    def _retrain_accepted(self) -> float | None:
        try:
            retrain(self.stack)
        except LoraLoopError:
            return None
        return time.monotonic()

    def _closed(self) -> float | None:
        return None if self.stack.model(MODEL)["run"] else time.monotonic()

    def _until_trainer(self, other_than: int | None = None) -> psutil.Process:
        found: list[psutil.Process] = []

        def look() -> float | None:
            control = child(self.stack, "control")
            found.extend(p for p in control.children() if p.pid != other_than and is_trainer(p))
            return 1.0 if found else None

        self._until(look, "a trainer")
        return found[0]


def is_trainer(process: psutil.Process) -> bool:
    """Whether a process trains. One that has ended does not."""
    try:
        return "retrain.trainer.train" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def child(stack: LiveStack, word: str) -> psutil.Process:
    """The live process of `up` whose command has a word."""
    for one in psutil.Process(stack.process.pid).children():
        try:
            if any(word == part or part.startswith(f"{word}.") for part in one.cmdline()):
                return one
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    raise AssertionError(f"no {word} is running")


def ready(url: str) -> bool:
    """Whether a service says that it is ready."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def settle(stack: LiveStack) -> None:
    """Waits until all is well and nothing is left to ship."""

    def done() -> bool:
        try:
            state = httpx.get(f"{stack.gateway}/ready", headers=stack.bearer("internal"), timeout=5).json()
        except (httpx.HTTPError, ValueError):
            return False
        return state["unshipped_bytes"] == 0 and ready(f"{stack.settings.control_url}/ready")

    stack.wait(done, "the drain", RECOVERY_SECONDS)


def account(store_path: Path, users: ClientLoad) -> dict[str, Any]:
    """Compare the rows in the store with what the users were acknowledged."""
    with duckdb.connect(str(store_path), read_only=True) as store:
        answered = {row[0] for row in store.execute("SELECT id FROM interactions WHERE status = 200").fetchall()}
        votes = {row[0] for row in store.execute("SELECT id FROM feedback").fetchall()}
        twice = store.execute(
            "SELECT count(*) FROM (SELECT user_id FROM interactions WHERE user_id SIMILAR TO 'u\\d+-\\d+'"
            " GROUP BY 1 HAVING count(*) > 1)"
            " UNION ALL SELECT count(*) FROM (SELECT metadata->>'mark' AS mark FROM feedback WHERE mark IS NOT NULL"
            " GROUP BY 1 HAVING count(*) > 1)"
        ).fetchall()
        letters = store.execute("SELECT count(*) FROM dead_letters").fetchall()[0][0]
    lost = {"interactions": len(users.completions - answered), "votes": len(users.feedback - votes)}
    opened = Store(store_path)
    ledger = verify_store(opened)
    opened.close()
    return {
        "lost": sum(lost.values()),
        "lost_of": lost,
        "duplicated": sum(row[0] for row in twice),
        "dead_letters": letters,
        "ledger_ok": ledger.ok,
    }


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All kills, and the account."""
    began = time.monotonic()
    stack = start(folder)
    try:
        train_first(stack)
        say(f"the stack serves after {time.monotonic() - began:.0f} s")
        users = ClientLoad(stack.gateway, stack.bearer("app"), MODEL, options.clients, options.pause)
        drill = Drill(stack, users, random.Random(options.seed))
        with users.asking():
            together(
                lambda: drill.kill("gateway", "gateway", drill.answered, options.gateway),
                lambda: drill.kill("control", "control", drill.control_ready, options.control),
            )
            together(
                lambda: drill.kill("engine", "vllm", drill.answered, options.engine),
                lambda: drill.kill_trainers(options.trainer),
            )
        verdict = drill.last_run()
        settle(stack)
    finally:
        left = stack.stop()
    found = account(stack.settings.store_path, users)
    recovery = {name: summary(seconds) for name, seconds in drill.recovery.items() if seconds}
    every = [second for seconds in drill.recovery.values() for second in seconds]
    return {
        "kills": {name: len(seconds) for name, seconds in drill.recovery.items()},
        **found,
        "recovery_s_p95": round(p95(every), 1),
        "recovery_s": recovery,
        "completions": len(users.completions),
        "votes": len(users.feedback),
        "answers": users.statuses(),
        "votes_refused": {str(status or "broken"): n for status, n in users.refused_votes.items()},
        "last_run": verdict,
        "processes_left": len(left),
        "seconds": round(time.monotonic() - began),
    }


def together(*works: Callable[[], None]) -> None:
    """Does several things at once; what one raises is raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        for work in [pool.submit(work) for work in works]:
            work.result()


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum."""
    return {
        "p50": round(sorted(seconds)[len(seconds) // 2], 1),
        "p95": round(p95(seconds), 1),
        "max": round(max(seconds), 1),
    }


def main() -> None:
    """Runs it; the last line of output is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, count in (("gateway", 80), ("control", 80), ("engine", 20), ("trainer", 20)):
        parser.add_argument(f"--{name}", type=int, default=count, help="kills")
    parser.add_argument("--clients", type=int, default=8, help="users at once")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between a user's requests")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", action="store_true", help="keep the data folder")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    say(f"data folder: {folder}")
    found = run(options, folder)
    if not options.keep:
        shutil.rmtree(folder)
    say(f"total: {found['seconds']} s")
    print(json.dumps(found))
    sys.exit(1 if found["lost"] or found["duplicated"] or found["dead_letters"] or not found["ledger_ok"] else 0)


if __name__ == "__main__":
    main()
