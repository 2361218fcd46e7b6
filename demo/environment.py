"""Start a new LoraLoop for the demo, wait for its runs and decisions, and read them from control.

This module must not start a run, decide or promote.
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
from ops.client import ControlClient
from ops.local.up import Stack

FOLDER = Path("demo-run")
CONFIG = FOLDER / "loraloop.yaml"
OUT = FOLDER / "out"
TICK_SECONDS = 0.5
FINAL = ("promoted", "kept", "rolled_back", "inconclusive", "skipped", "failed", "rejected")

Tell = Callable[[str], None]


class DemoStack:
    """A new LoraLoop from a configuration, with new keys that are valid until it stops."""

    def __init__(self, configuration: dict[str, Any], tell: Tell) -> None:
        shutil.rmtree(FOLDER / "data", ignore_errors=True)
        OUT.mkdir(parents=True, exist_ok=True)
        CONFIG.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
        self.app_key, self.ops_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        keys = KeySettings(app=SecretStr(self.app_key), ops=SecretStr(self.ops_key))
        self.settings: Settings = build(configuration, source=str(CONFIG)).model_copy(update={"keys": keys})
        self.processes = Stack(self.settings, CONFIG, tell)
        self.control = ControlClient(self.settings)

    def newest_decision(self, model: str) -> dict[str, Any] | None:
        """Return the newest decision in a model's ledger with its evidence."""
        for row in self.control.get("/api/promotions", model=model, limit=20):
            if row["verdict"] in FINAL:
                return dict(self.control.get(f"/api/promotions/{row['id']}"))
        return None

    def ledger(self, model: str | None = None) -> list[dict[str, Any]]:
        """Return the ledger's rows, oldest first."""
        return list(self.control.get("/api/promotions", model=model, limit=1000))[::-1]

    def newest_run(self, model: str) -> dict[str, Any] | None:
        """Return the model's newest run, or None before there is one."""
        runs = self.control.get("/api/runs", model=model, limit=1)
        return dict(runs[0]) if runs else None

    def await_run(self, model: str, progress: Callable[[str, int, int], None], timeout_s: float) -> dict[str, Any]:
        """Wait until the model's run, which the scheduler started, is in its canary or has ended."""
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
        raise LoraLoopError(f"The run of {model} did not end within {timeout_s:.0f} s.", hint="See demo-run/data/logs.")

    def await_feedback(self, model: str, expected: int, timeout_s: float = 60) -> None:
        """Wait until control has ingested every acknowledged feedback row of a model."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if sum(row["n"] for row in self.control.get("/api/feedback", model=model)) >= expected:
                return
            time.sleep(TICK_SECONDS)
        raise LoraLoopError(f"Control did not ingest {expected} feedback rows of {model} within {timeout_s:.0f} s.")

    def engine_name(self, model: str, version: int) -> str:
        """Return a version's name in the engine."""
        if version == 0:
            return Path(self.settings.base_model).name
        rows = self.control.get(f"/api/models/{model}/versions")
        return str(next(row["engine_name"] for row in rows if row["version"] == version))

    def snapshot(self, digest: str) -> Snapshot:
        """Read a snapshot from its folder."""
        path = self.settings.data / "snapshots" / digest
        return Snapshot(digest, path, tuple(read_rows(path)), Report({}, {}, {}, {}, {}, {}))

    def check(self) -> None:
        """Raise if a process died, because the demo must not hide a restart."""
        self.processes.raise_if_dead()
