"""Facts about real trainings that people pause, resume and cancel by API and command line."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.db import decisions, runs, versions
from core.model_folder import ModelFolder
from core.settings import load
from ops.apps.control import create_app
from retrain.trainer.job import ADAPTER, CHECKPOINT, JOB, Job
from retrain.trainer.process import Trainer
from serve.adapters.preflight import folder_hash
from serve.engines.fake import running
from serve.engines.lease import EngineLease
from tests.support.pipeline import result, vote
from tests.support.running_control import RunningControl
from tests.support.tiny_models import save_base
from tests.support.wait import wait_until

STEPS = 160


class TrainingControl(RunningControl):
    """A control that really trains a tiny base. Nothing is evaluated: each candidate has the same evidence."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        content = yaml.safe_load(self.config.read_text())
        content["base_model"] = str(save_base(folder / "base"))
        content["engine"]["dtype"] = "float32"
        content["models"]["reviews"] |= {
            "retrain": {
                "schedule": None,
                "min_labels": 8,
                "min_steps": STEPS,
                "batch_size": 2,
                "rank": 4,
                "threads": 1,
            },
            "promotion": {"canary": None, "mode": "approve"},
        }
        self.config.write_text(yaml.safe_dump(content))
        self.store.close()
        self.app = create_app(settings=load(self.config), base=ModelFolder("base", folder / "base"))
        self.store = self.app.state.control.store
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        pipeline = self.app.state.control.scheduler.pipeline
        pipeline.evaluate = lambda *_, **__: result(0.1)
        pipeline.find_shortage = lambda *_: None
        vote(self.store, 60)

    def start(self) -> str:
        """A run that has trained for some steps; its id."""
        run = str(self.api.post("/api/models/reviews/retrain", json={}).json()["run_id"])
        wait_until(lambda: self.step(run) >= 3, 120)
        return run

    def show(self, run: str) -> dict[str, Any]:
        return dict(self.api.get(f"/api/runs/{run}").json())

    def step(self, run: str) -> int:
        progress = self.show(run)["progress"]
        return progress["done"] if progress and progress["phase"] == "training" else 0

    def folder_of(self, run: str) -> Path:
        return self.folder / "data" / "runs" / run


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingControl]:
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "k")
    monkeypatch.setattr(EngineLease, "with_engine_serving", lambda self, versions, work: work(None))
    made = TrainingControl(tmp_path)
    with running(made.app, made.port):
        yield made
    made.api.close()


def hash_of(control: TrainingControl, run: str) -> str:
    row = next(row for row in versions.of_model(control.store, model="reviews") if row["run_id"] == run)
    return str(row["sha256"])


def test_a_paused_and_resumed_run_makes_the_adapter_of_an_undisturbed_one(control: TrainingControl) -> None:
    run = control.start()
    paused = control.api.post(f"/api/runs/{run}/pause", json={"comment": "the machine is needed"})
    assert paused.status_code == 200 and paused.json()["state"] == "paused"
    reached = control.step(run)
    assert 3 <= reached < STEPS
    assert (control.folder_of(run) / CHECKPOINT).is_file() and not (control.folder_of(run) / ADAPTER).exists()
    again = control.api.post(f"/api/runs/{run}/pause", json={})
    assert again.status_code == 409 and "paused already" in again.json()["error"]["message"]
    other = control.api.post("/api/models/reviews/retrain", json={})
    assert other.status_code == 409 and f"loraloop runs resume {run}" in other.json()["error"]["message"]

    shown = control.run("runs", "show", run).stdout
    assert "paused" in shown and "the machine is needed" in shown and f"training {reached} of {STEPS}" in shown
    resumed = control.run("runs", "resume", run)
    assert resumed.exit_code == 0 and f"{run} is" in resumed.stderr
    wait_until(lambda: control.show(run)["state"] == "awaiting_approval", 120)
    steps = [step["done"] for step in control.show(run)["steps"] if step["phase"] == "training"]
    assert steps == list(range(1, STEPS + 1))  # no step is trained twice, and none is left out
    assert hash_of(control, run) == train_alone(control, run)


def last_decision(control: TrainingControl) -> dict[str, Any]:
    return dict(json.loads(decisions.chain(control.store)[-1]["body"]))


def train_alone(control: TrainingControl, run: str) -> str:
    """The hash of an adapter that the same job makes without an interruption."""
    job = replace(Job.read(control.folder_of(run) / JOB), output=str(control.folder / "alone"))
    return folder_hash(Trainer().run(job, lambda _: None))


def test_a_cancelled_run_leaves_a_decision_and_no_process_and_the_champion_stays(control: TrainingControl) -> None:
    run = control.start()
    pid = control.app.state.control.scheduler.pipeline.trainer.pid
    asked = control.run("runs", "cancel", run, "--dry-run")
    assert asked.exit_code == 0 and control.show(run)["state"] == "training"
    done = control.run("runs", "cancel", run, "--yes", "-m", "wrong labels")
    assert done.exit_code == 0 and f"{run} is cancelled" in done.stderr
    assert not Path(f"/proc/{pid}").exists()
    body = last_decision(control)
    assert (body["verdict"], body["run_id"], body["to_version"]) == ("cancelled", run, None)
    assert body["comment"].endswith("wrong labels") and "The run was training." in body["reason"]
    assert control.app.state.control.promotion.route("reviews").champion == 0
    assert not (control.folder_of(run) / CHECKPOINT).exists() and not (control.folder_of(run) / ADAPTER).exists()
    assert (runs.find(control.store, id=run) or {})["finished"] is not None
    late = control.api.post(f"/api/runs/{run}/cancel", json={})
    assert late.status_code == 409 and "it is cancelled" in late.json()["error"]["message"]
    assert control.api.post("/api/runs/run-none/cancel", json={}).status_code == 404
