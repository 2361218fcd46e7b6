"""Facts about a search with real trainings of a tiny model: it is the same after a pause, and its best values train."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.db import trials as trials_table
from core.model_folder import ModelFolder
from core.settings import Settings, build
from retrain.interruptions import Interruption
from retrain.pipeline import RetrainPipeline
from retrain.trainer import train as trainer
from retrain.trainer.job import ADAPTER, TRIALS, Job, Step
from retrain.trainer.process import Trainer
from serve.adapters.preflight import folder_hash
from tests.support.pipeline import state, vote
from tests.support.tiny_models import save_base


class DirectTrainer(Trainer):
    """Trains in this process: one of its own imports for seconds before its first step."""

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        job.write()
        trainer.train(job, progress)
        return Path(job.output) / ADAPTER


class PausedTrainer(DirectTrainer):
    """Runs the second trial as a process, and pauses its run after the third step of it."""

    def __init__(self, pause: Callable[[str], None]) -> None:
        super().__init__()
        self.pause: Callable[[str], None] | None = pause
        self.jobs: list[Job] = []

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        self.jobs.append(job)

        def report(step: Step) -> None:
            progress(step)
            if self.pause and step.done == 3:
                self.pause(job.run_id)
                self.pause = None

        if job.output.endswith(f"{TRIALS}/1"):
            return Trainer.run(self, job, report)
        return super().run(job, progress)


@pytest.fixture
def searching(
    settings: Settings, make: Callable[..., RetrainPipeline], tmp_path: Path
) -> Callable[..., RetrainPipeline]:
    base = save_base(tmp_path / "base")

    def made(trained_by: Trainer, min_new_feedback: int) -> RetrainPipeline:
        plain = settings.model_dump(mode="json", exclude={"keys"})
        plain["engine"]["dtype"] = "float32"
        model: dict[str, Any] = plain["models"]["reviews"]
        model["split"] = {"train": 0.4, "dev": 0.4}
        model["retrain"] |= {"search": {"trials": 2}, "rank": 4, "batch_size": 8, "min_steps": 8, "threads": 1}
        model["retrain"] |= {"learning_rate": 1e-2, "min_new_feedback": min_new_feedback}
        pipeline = make(trained_by, changed=build(plain))
        pipeline.base = ModelFolder("base", base)
        return pipeline

    return made


def trials_of(pipeline: RetrainPipeline, run: str) -> list[dict[str, Any]]:
    return [{**one, "seconds": None} for one in trials_table.of_run(pipeline.store, run_id=run)]


def test_a_paused_search_finds_the_same_and_its_best_values_train_the_candidate(
    searching: Callable[..., RetrainPipeline], tmp_path: Path
) -> None:
    undisturbed = searching(DirectTrainer(), 10)
    vote(undisturbed.store, 80)
    first = undisturbed.run("reviews", "test")
    expected = trials_of(undisturbed, first)
    assert state(undisturbed, first) == "finished" and [one["state"] for one in expected].count("complete") == 2

    def pause(run: str) -> None:
        paused.interruptions.request(run, Interruption("pause", "key:ada"), 0.0)

    process = PausedTrainer(pause)
    paused = searching(process, 11)  # the settings differ, so that the run is not a repetition
    second = paused.run("reviews", "test")
    assert state(paused, second) == "paused"
    assert [one["state"] for one in trials_of(paused, second)] == ["complete", "running"]
    paused.interruptions.release(second, "key:ada", "")
    left = paused.runs.find(second)
    assert left
    paused.execute(left)
    assert state(paused, second) == "finished" and trials_of(paused, second) == expected

    best = max(expected, key=lambda one: (one["score"], -one["number"]))
    final = process.jobs[-1]
    if best["number"]:
        assert {name: getattr(final, name) for name in best["values"]} == best["values"]
    versions = [undisturbed.promotion.version("reviews", number) for number in (1, 2)]
    trainer.train(Job(**{**_fields(final), "output": str(tmp_path / "alone")}), lambda _: None)
    assert {folder_hash(Path(one.path)) for one in versions} == {folder_hash(tmp_path / "alone" / ADAPTER)}


def _fields(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__slots__}
