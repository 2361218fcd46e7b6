"""The stage: a running LoraLoop for the demo, and how to watch what it does by itself.

It owns starting clean, waiting for runs and decisions, and asking control; it must not start a run, judge
or promote.
"""

import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from core.errors import LoraLoopError, TrainingFailed
from core.settings import KeySettings, Settings, build
from feedback.snapshot import Report, Snapshot, read_rows
from ops.cli.terminal import ControlClient
from ops.local.up import Stack

FOLDER = Path("demo-run")
CONFIG = FOLDER / "loraloop.yaml"
OUT = FOLDER / "out"
TICK_SECONDS = 0.5
FINAL = ("promoted", "kept", "rolled_back", "inconclusive", "skipped", "failed", "rejected")

Tell = Callable[[str], None]


class DemoStack:
    """Sets up a fresh stack from a configuration, with keys of its own that end with it."""

    def __init__(self, configuration: dict[str, Any], tell: Tell) -> None:
        shutil.rmtree(FOLDER / "data", ignore_errors=True)
        OUT.mkdir(parents=True, exist_ok=True)
        CONFIG.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
        self.app_key, self.ops_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        keys = KeySettings(app=SecretStr(self.app_key), ops=SecretStr(self.ops_key))
        self.settings: Settings = build(configuration, source=str(CONFIG)).model_copy(update={"keys": keys})
        self.stack = Stack(self.settings, CONFIG, tell)
        self.control = ControlClient(self.settings)

    def newest_decision(self, model: str) -> dict[str, Any] | None:
        """The last row of the ledger about a model that decides something, with all it holds."""
        for row in self.control.get("/api/promotions", model=model, limit=20):
            if row["verdict"] in FINAL:
                return dict(self.control.get(f"/api/promotions/{row['id']}"))
        return None

    def ledger(self, model: str | None = None) -> list[dict[str, Any]]:
        """The ledger's rows, oldest first."""
        return list(self.control.get("/api/promotions", model=model, limit=1000))[::-1]

    def newest_run(self, model: str) -> dict[str, Any] | None:
        """The model's newest run, or None before there is one."""
        runs = self.control.get("/api/runs", model=model, limit=1)
        return dict(runs[0]) if runs else None

    def await_run(self, model: str, progress: Callable[[str, int, int], None], timeout_s: float) -> dict[str, Any]:
        """Waits until the model's run is in its canary or has ended; it was the scheduler that started it."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            run = self.newest_run(model)
            if run and run["progress"]:
                progress(run["progress"]["phase"], run["progress"]["done"], run["progress"]["total"])
            if run and (run["state"] == "canary" or run["finished"]):
                if run["state"] == "failed":
                    raise TrainingFailed(f"The run of {model} failed: {run['reason']}")
                return run
            self.check()
            time.sleep(TICK_SECONDS)
        raise LoraLoopError(f"The run of {model} was not done after {timeout_s:.0f} s.", hint="See demo-run/data/logs.")

    def await_feedback(self, model: str, expected: int, timeout_s: float = 60) -> None:
        """Waits until control has taken in so many feedback rows of a model: none that was acknowledged is lost."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if sum(row["n"] for row in self.control.get("/api/feedback", model=model)) >= expected:
                return
            time.sleep(TICK_SECONDS)
        raise LoraLoopError(f"Control has not taken in {expected} feedback rows of {model} after {timeout_s:.0f} s.")

    def engine_name(self, model: str, version: int) -> str:
        """What the engine calls a version."""
        if version == 0:
            return Path(self.settings.base_model).name
        rows = self.control.get(f"/api/models/{model}/versions")
        return str(next(row["engine_name"] for row in rows if row["version"] == version))

    def snapshot(self, digest: str) -> Snapshot:
        """A snapshot of the store, read from its folder."""
        path = self.settings.data / "snapshots" / digest
        return Snapshot(digest, path, tuple(read_rows(path)), Report({}, {}, {}, {}, {}, {}))

    def check(self) -> None:
        """Raises when a process of the stack died: a demo does not hide a restart."""
        self.stack.raise_if_dead()
