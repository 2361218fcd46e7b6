"""Facts about runs after a restart, a reload or an interruption of control."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.db import decisions as decisions_table
from core.db import runs as runs_table
from core.errors import TooFewRows
from core.settings import Settings, settings_sha256
from eval.evaluation import Result
from retrain.pipeline import RetrainPipeline
from retrain.runs import Run
from retrain.trainer.job import Job, Step
from serve.engines import lease
from tests.support.pipeline import NOW, StubTrainer, add_run, decisions, state, vote


def test_a_restart_fails_the_run_that_was_under_way_and_no_other(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    for name, at in (("run-a", "training"), ("run-b", "canary")):
        runs_table.add(
            pipeline.store, id=name, model="reviews", trigger="test", state=at, started=NOW, feedback_until=NOW
        )
    pipeline.recover()
    assert state(pipeline, "run-a") == "failed"
    assert state(pipeline, "run-b") == "canary"


def cut_short(pipeline: RetrainPipeline, actor: str = "scheduler", comment: str = "") -> str:
    """A run whose control was killed in its evaluation; its id."""

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> Result:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "evaluate", killed)
        with pytest.raises(Killed):
            pipeline.run("reviews", "test", actor, comment)
    return str(runs_table.unfinished(pipeline.store)[0]["id"])


def test_a_run_cut_short_in_its_evaluation_goes_on_and_trains_nothing_again(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 60)
    run = cut_short(pipeline)
    assert state(pipeline, run) == "evaluating"
    pipeline.trainer = StubTrainer("must not train again")  # type: ignore[assignment]
    (left,) = pipeline.recover()
    pipeline.resume(left)
    assert (left.id, state(pipeline, run)) == (run, "finished")
    assert pipeline.promotion.route("reviews").champion == 1
    body = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert body["trigger"] == "test" and sum(body["lineage"]["rows"].values()) == 60


def test_a_run_cut_short_in_its_training_continues_with_the_same_job(make: Callable[..., RetrainPipeline]):
    class Killed(BaseException):
        pass

    jobs: list[Job] = []

    class KilledTrainer(StubTrainer):
        def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
            jobs.append(job)
            if len(jobs) == 1:
                raise Killed
            return super().run(job, progress)

    pipeline = make(KilledTrainer())
    vote(pipeline.store, 60)
    with pytest.raises(Killed):
        pipeline.run("reviews", "test")
    (left,) = pipeline.recover()
    vote(pipeline.store, 20, spool="later")
    pipeline.resume(left)
    assert state(pipeline, left.id) == "finished"
    assert jobs[0] == jobs[1]
    body = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert sum(body["lineage"]["rows"].values()) == 60


def test_a_run_with_too_few_rows_that_can_be_trained_on_is_skipped(make: Callable[..., RetrainPipeline]):
    class PickyTrainer(StubTrainer):
        def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
            raise TooFewRows(f"3 rows; {job.min_rows} are needed")

    pipeline = make(PickyTrainer())
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "skipped"
    assert decisions(pipeline)[-1] == ("skipped", "3 rows; 8 are needed")


def test_an_evaluation_that_ends_control_again_and_again_is_given_up(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 60)
    run = cut_short(pipeline)
    for _ in range(lease.MOST_CUTS):
        assert [left.id for left in pipeline.recover()] == [run]
    assert pipeline.recover() == []
    assert state(pipeline, run) == "failed"


def test_a_run_whose_snapshot_is_gone_fails_with_that_reason(make: Callable[..., RetrainPipeline], settings: Settings):
    pipeline = make()
    vote(pipeline.store, 60)
    run = cut_short(pipeline)
    for file in (settings.data / "snapshots").rglob("rows.parquet"):
        file.unlink()
    for left in pipeline.recover():
        pipeline.resume(left)
    assert state(pipeline, run) == "failed"
    assert "not on disk any more" in decisions(pipeline)[0][1]


def test_the_actor_and_comment_of_a_run_are_in_the_ledger_after_a_restart_too(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 60)
    run = cut_short(pipeline, "key:ada", "for the demo")
    (left,) = pipeline.recover()
    pipeline.resume(left)
    body = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert (body["run_id"], body["verdict"]) == (run, "promoted")
    assert (body["actor"], body["comment"]) == ("key:ada", "for the demo")
    row = runs_table.find(pipeline.store, id=run) or {}
    assert (row["actor"], row["comment"]) == ("key:ada", "for the demo")


def test_a_run_that_a_restart_fails_names_who_asked_for_it(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    pipeline.runs.add(Run("run-a", "reviews", "asked for", "key:ada", "for the demo"), "training", NOW)
    pipeline.recover()
    body = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert (body["trigger"], body["actor"], body["comment"]) == ("restart", "key:ada", "for the demo")


class ReloadingTrainer(StubTrainer):
    """Reloads the settings while it trains."""

    reload: Callable[[], None] = staticmethod(lambda: None)

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        self.reload()
        return super().run(job, progress)


def test_a_reload_during_training_does_not_change_what_the_ledger_says_of_it(
    make: Callable[..., RetrainPipeline], settings: Settings
):
    trainer = ReloadingTrainer()
    pipeline = make(trainer)
    vote(pipeline.store, 60)
    model = settings.models["reviews"]
    longer = model.model_copy(update={"retrain": model.retrain.model_copy(update={"epochs": 7})})

    def reload() -> None:
        pipeline.settings = settings.model_copy(update={"models": {"reviews": longer}})

    trainer.reload = reload  # type: ignore[method-assign]
    pipeline.run("reviews", "test")
    lineage = json.loads(decisions_table.chain(pipeline.store)[0]["body"])["lineage"]
    assert lineage["config_sha256"] == settings_sha256(model) != settings_sha256(longer)
    assert lineage["training"]["epochs"] == model.retrain.epochs


def test_a_resumed_run_keeps_the_settings_that_it_began_with(make: Callable[..., RetrainPipeline], settings: Settings):
    pipeline = make()
    vote(pipeline.store, 60)
    cut_short(pipeline)
    model = settings.models["reviews"]
    longer = model.model_copy(update={"retrain": model.retrain.model_copy(update={"epochs": 7})})
    pipeline.settings = settings.model_copy(update={"models": {"reviews": longer}})
    (run,) = pipeline.recover()
    pipeline.resume(run)
    lineage = json.loads(decisions_table.chain(pipeline.store)[0]["body"])["lineage"]
    assert lineage["config_sha256"] == settings_sha256(model)


def test_a_measurement_that_control_interrupted_fails_without_a_decision(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    add_run(pipeline, "run-a", "measuring")
    assert pipeline.recover() == []
    assert state(pipeline, "run-a") == "failed"
    assert decisions_table.chain(pipeline.store) == []


def test_a_measurement_whose_work_broke_off_fails_without_a_decision(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    add_run(pipeline, "run-a", "measuring")
    pipeline.give_up("reviews", RuntimeError("no"))
    assert state(pipeline, "run-a") == "failed"
    assert decisions_table.chain(pipeline.store) == []
