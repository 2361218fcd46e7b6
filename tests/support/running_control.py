"""A control on a port, and the command line next to it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from core.db import exports
from core.db.store import Store
from core.model_folder import ModelFolder
from core.settings import load
from ops.apps.control import create_app
from ops.cli.app import app
from serve.engines.fake import running
from tests.support.environment import clear_settings
from tools.live_stack import free_ports


class RunningControl:
    """A control on a port, its store, and the command line next to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_ports(1)[0]
        self.config = folder / "loraloop.yaml"
        content = {
            "base_model": str(folder),
            "access": "open",
            "data": str(folder / "data"),
            "models": {"reviews": {"labels": ["a", "b"], "retrain": {"schedule": None}}},
            "control": {"listen": f"127.0.0.1:{self.port}"},
            "engine": {"urls": ["http://127.0.0.1:9"]},
        }
        self.config.write_text(yaml.safe_dump(content))
        self.app: FastAPI = create_app(settings=load(self.config), base=ModelFolder("base", folder))
        self.store: Store = self.app.state.control.store

    def run(self, *words: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(app, [*words, "--config", str(self.config)], input=stdin)

    def ids(self) -> list[str]:
        batches = exports.feedback(self.store, 100, model=None, key=None)
        return [row["id"] for batch in batches for row in batch]


def served_control(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    """For a fixture: a control that answers on its port."""
    clear_settings(monkeypatch)
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "k")
    made = RunningControl(folder)
    with running(made.app, made.port):
        yield made


def new(done: Result) -> tuple[int, int, int]:
    """How many interactions and feedback an import has added, and how many were known."""
    found = json.loads(done.stdout)
    return found["interactions"], found["feedback"], found["known"]


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
