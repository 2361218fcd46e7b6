"""A control on a port with a trainer that waits, and files of examples, for tests of fine-tuning jobs."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.errors import TrainingFailed
from core.model_folder import ModelFolder
from core.settings import build
from ops.apps import control as control_app
from ops.control import Control
from retrain.trainer.job import Job, Step
from serve.engines.fake import FakeEngines, running
from tests.support.pipeline import checked, result
from tests.support.wait import wait_until

RETRAIN = {"schedule": None, "min_labels": 8, "min_pairs": 8, "min_new_feedback": 10}
MODELS: dict[str, Any] = {
    "reviews": {"labels": ["a", "b"], "retrain": RETRAIN, "promotion": {"canary": None}},
    "replies": {"task": "generate", "retrain": RETRAIN, "promotion": {"canary": None}},
}
READS, ACTS = (Scope.OPS_READ,), (Scope.OPS_READ, Scope.OPS_WRITE)
ALL = (*ACTS, Scope.ADMIN)


class WaitingTrainer:
    """Replaces the trainer's process: it takes a step, waits for `go`, takes another one and leaves a folder."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.cut = threading.Event()
        self.jobs: list[Job] = []

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        self.cut.clear()
        self.jobs.append(job)
        progress(Step(1, 2, {"loss": 0.9, "dev_loss": 0.8, "seconds_left": 5.0}))
        while not self.go.wait(0.01):
            if self.cut.is_set():
                raise TrainingFailed("The training was interrupted.")
        progress(Step(2, 2, {"loss": 0.4, "dev_loss": 0.6}))
        folder = Path(job.output) / "adapter"
        folder.mkdir(parents=True)
        return folder

    def interrupt(self, run_id: str, *, save: bool) -> None:
        self.cut.set()

    def stop(self) -> None:
        self.cut.set()


class FineTuning:
    """Control's real app with stubs for what needs an engine or a model. `gain` is that of a candidate."""

    def __init__(self, folder: Path, gain: float = 0.1) -> None:
        settings = build(
            {"data": str(folder), "models": MODELS, "engine": {"urls": ["http://127.0.0.1:9"]}, "base_model": "base"}
        )
        self.app = control_app.create_app(settings=settings, base=ModelFolder("base", folder))
        self.control: Control = self.app.state.control
        self.trainer = WaitingTrainer()
        pipeline: Any = self.control.scheduler.pipeline
        pipeline.trainer, pipeline.check_adapter = self.trainer, checked
        pipeline.evaluate = lambda *_, **__: result(gain)
        pipeline.find_shortage = lambda *_: None
        pipeline.engines.with_engine_serving = lambda _, work: work(None)
        self.control.promotion.engines = FakeEngines("base")
        self.url = ""

    def client(
        self, scopes: tuple[Scope, ...] = ALL, models: tuple[str, ...] | None = None, **how: Any
    ) -> openai.OpenAI:
        key = self.control.keyring.make(NewKey("tuner", scopes, models), "test").key
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60, **how)


@contextmanager
def tuning(folder: Path, gain: float = 0.1) -> Iterator[FineTuning]:
    """A running control. It ends with the block."""
    made = FineTuning(folder, gain)
    with running(made.app) as made.url:
        yield made


def lines(rows: list[Any]) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def supervised(count: int = 60) -> list[Any]:
    """Examples of a classifier, each of a user of their own."""
    return [
        {
            "messages": [{"role": "user", "content": f"text {n}"}, {"role": "assistant", "content": "ab"[n % 2]}],
            "user": f"u{n}",
        }
        for n in range(count)
    ]


def preferences(count: int = 60) -> list[Any]:
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"question {n}"}]},
            "preferred_output": [{"role": "assistant", "content": f"kind words {n}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"dull words {n}"}],
            "user": f"u{n}",
        }
        for n in range(count)
    ]


def upload(client: openai.OpenAI, rows: list[Any]) -> str:
    return client.files.create(file=("train.jsonl", lines(rows)), purpose="fine-tune").id


def reaches(client: openai.OpenAI, job: str, *wanted: str) -> Any:
    """The job once it has one of these statuses."""
    wait_until(lambda: client.fine_tuning.jobs.retrieve(job).status in wanted)
    return client.fine_tuning.jobs.retrieve(job)
