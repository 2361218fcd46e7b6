"""Facts about cancelling, pausing and resuming runs: one decision, nothing half-written, the champion stays."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db import decisions as decisions_table
from core.db import runs as runs_table
from core.errors import AlreadyDone, NotFound, NotReady, RunInProgress, TrainingFailed
from retrain.interruptions import Interruption, Kind
from retrain.pipeline import RetrainPipeline
from retrain.scheduler import Scheduler
from retrain.trainer.job import ADAPTER, CHECKPOINT, Job, Step
from tests.support.pipeline import StubTrainer, decisions, state, vote
from tests.support.wait import wait_until


class WaitingTrainer(StubTrainer):
    """Trains until it is interrupted or let go on; it leaves a checkpoint and a part of an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.saved: list[bool] = []
        self.going, self.ended = threading.Event(), threading.Event()

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        self.jobs.append(job)
        folder = Path(job.output)
        (folder / ADAPTER).mkdir(parents=True, exist_ok=True)
        (folder / CHECKPOINT).write_text("half")
        progress(Step(1, 2, {"loss": 0.5}))
        while not self.going.wait(0.01):
            if self.ended.is_set():
                self.ended.clear()
                raise TrainingFailed("it was ended")
        (folder / ADAPTER).rmdir()
        return super().run(job, progress)

    def interrupt(self, run_id: str, *, save: bool) -> None:
        self.saved.append(save)
        self.ended.set()


@pytest.fixture
def trainer() -> WaitingTrainer:
    return WaitingTrainer()


@pytest.fixture
def scheduler(make: Callable[..., RetrainPipeline], trainer: WaitingTrainer) -> Iterator[Scheduler]:
    pipeline = make(trainer)
    vote(pipeline.store, 60)
    made = Scheduler(
        settings=pipeline.settings,
        store=pipeline.store,
        pipeline=pipeline,
        steps=pipeline.steps,
        watch=lambda: None,
        reconcile=lambda: None,
    )
    yield made
    trainer.going.set()
    made._runs.shutdown(wait=True)


def ask(scheduler: Scheduler, run: str, kind: Kind, actor: str = "key:ada") -> dict[str, Any]:
    return scheduler.pipeline.interruptions.request(run, Interruption(kind, actor, "wrong labels"), 20.0)


def training(scheduler: Scheduler) -> str:
    """A run that is being trained; its id."""
    run = scheduler.start_run("reviews", "test", "key:bob", "for the demo")
    trainer: Any = scheduler.pipeline.trainer
    wait_until(lambda: bool(trainer.jobs) and bool(steps(scheduler, run)), 20)
    return run


def steps(scheduler: Scheduler, run: str) -> list[Any]:
    return runs_table.metrics(scheduler.store, run_id=run)


def test_a_cancelled_run_ends_with_a_decision_and_leaves_nothing_half_written(
    scheduler: Scheduler, trainer: WaitingTrainer
) -> None:
    pipeline, run = scheduler.pipeline, training(scheduler)
    assert ask(scheduler, run, "cancel")["state"] == "cancelled"
    body = json.loads(decisions_table.chain(pipeline.store)[-1]["body"])
    assert (body["verdict"], body["run_id"], body["actor"]) == ("cancelled", run, "key:ada")
    assert (body["comment"], body["reason"]) == ("wrong labels", "Cancelled by key:ada. The run was training.")
    assert set(trainer.saved) == {False}
    folder = Path(trainer.jobs[0].output)
    assert not (folder / ADAPTER).exists() and not (folder / CHECKPOINT).exists()
    assert pipeline.promotion.route("reviews").champion == 0
    trainer.going.set()
    scheduler.start_run("reviews", "again")
    wait_until(lambda: len(trainer.jobs) == 2, 20)


def test_of_two_who_cancel_at_once_one_wins(scheduler: Scheduler) -> None:
    run, together, refused, won = training(scheduler), threading.Barrier(2), [], []

    def cancel(actor: str) -> None:
        together.wait()
        try:
            won.append(ask(scheduler, run, "cancel", actor)["state"])
        except AlreadyDone as error:
            refused.append(error)

    threads = [threading.Thread(target=cancel, args=(name,)) for name in ("key:ada", "key:bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert won == ["cancelled"] and [error.status for error in refused] == [409]
    assert [verdict for verdict, _ in decisions(scheduler.pipeline)] == ["cancelled"]


def test_a_paused_run_keeps_its_checkpoint_and_goes_on_with_the_same_job(
    scheduler: Scheduler, trainer: WaitingTrainer
) -> None:
    pipeline, run = scheduler.pipeline, training(scheduler)
    assert ask(scheduler, run, "pause")["state"] == "paused"
    assert set(trainer.saved) == {True}
    assert (Path(trainer.jobs[0].output) / CHECKPOINT).exists()
    assert decisions(pipeline) == []
    with pytest.raises(RunInProgress, match="is paused"):
        scheduler.start_run("reviews", "second")
    with pytest.raises(AlreadyDone, match="paused already"):
        ask(scheduler, run, "pause")
    assert pipeline.recover() == [] and state(pipeline, run) == "paused"
    trainer.going.set()
    (Path(trainer.jobs[0].output) / ADAPTER).rmdir()
    scheduler.continue_run(run, "key:ada", "the machine is free")
    wait_until(lambda: state(pipeline, run) == "finished", 20)
    assert trainer.jobs[0] == trainer.jobs[1]
    assert decisions(pipeline)[0][0] == "promoted"
    actions = pipeline.runs.details(pipeline.runs.find(run))["actions"]  # type: ignore[arg-type]
    assert [(done["action"], done["actor"], done["comment"]) for done in actions] == [
        ("pause", "key:ada", "wrong labels"),
        ("resume", "key:ada", "the machine is free"),
    ]
    with pytest.raises(NotReady, match="is not paused"):
        scheduler.continue_run(run, "key:ada", "")


def test_a_paused_run_can_be_cancelled(scheduler: Scheduler, trainer: WaitingTrainer) -> None:
    run = training(scheduler)
    ask(scheduler, run, "pause")
    assert ask(scheduler, run, "cancel")["state"] == "cancelled"
    assert not (Path(trainer.jobs[0].output) / CHECKPOINT).exists()
    assert decisions(scheduler.pipeline) == [("cancelled", "Cancelled by key:ada. The run was paused.")]


def test_a_queued_run_is_cancelled_at_once_and_never_begins(
    scheduler: Scheduler, trainer: WaitingTrainer, make: Callable[..., RetrainPipeline]
) -> None:
    running = training(scheduler)
    queued = scheduler.pipeline.queue("reviews", "second")  # as a run of another model waits for this one
    scheduler._queue("reviews", lambda: scheduler.pipeline.execute(queued))
    assert ask(scheduler, queued.id, "cancel")["state"] == "cancelled"
    trainer.going.set()
    wait_until(lambda: state(scheduler.pipeline, running) == "finished", 20)
    wait_until(lambda: not scheduler._work["reviews"], 20)
    assert len(trainer.jobs) == 1 and state(scheduler.pipeline, queued.id) == "cancelled"


def test_a_run_that_has_ended_or_is_unknown_is_refused_with_its_state(
    scheduler: Scheduler, trainer: WaitingTrainer
) -> None:
    run = training(scheduler)
    trainer.going.set()
    wait_until(lambda: state(scheduler.pipeline, run) == "finished", 20)
    with pytest.raises(AlreadyDone, match="it is finished"):
        ask(scheduler, run, "cancel")
    with pytest.raises(NotFound):
        ask(scheduler, "run-none", "cancel")


def test_a_cancellation_that_control_did_not_finish_holds_after_a_restart(
    scheduler: Scheduler, trainer: WaitingTrainer
) -> None:
    pipeline = scheduler.pipeline
    run = pipeline.queue("reviews", "test", "key:bob")
    pipeline.runs.set_state(run, "training")
    kept = {"kind": "cancel", "actor": "key:ada", "comment": "no"}
    pipeline.runs.add_details(run, interruption=kept)
    assert pipeline.recover() == []
    assert state(pipeline, run.id) == "cancelled"
    assert decisions(pipeline) == [("cancelled", "Cancelled by key:ada. The run was training.")]


def test_a_run_that_a_stop_of_control_interrupts_continues_at_the_next_start(
    scheduler: Scheduler, trainer: WaitingTrainer
) -> None:
    pipeline, run = scheduler.pipeline, training(scheduler)
    pipeline.interruptions.stop(20.0)
    assert set(trainer.saved) == {True}
    assert state(pipeline, run) == "training" and decisions(pipeline) == []
    (left,) = pipeline.recover()
    assert left.id == run
    assert pipeline.runs.details(left)["cuts"] == 0  # a stop on purpose does not count as a crash


def test_an_evaluation_is_cancelled_at_its_next_query(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = make()
    vote(pipeline.store, 60)
    begun = threading.Event()

    def evaluate(*_: Any, progress: Callable[[int, int], None], **__: Any) -> Any:
        begun.set()
        for done in range(2_000):
            progress(done, 2_000)
            time.sleep(0.01)

    pipeline.evaluate = evaluate
    run = pipeline.queue("reviews", "test")
    working = threading.Thread(target=pipeline.execute, args=(run,))
    working.start()
    assert begun.wait(20)
    row = pipeline.interruptions.request(run.id, Interruption("cancel", "key:ada"), 20.0)
    working.join(20)
    assert row["state"] == "cancelled" and pipeline.promotion.route("reviews").champion == 0
    body = json.loads(decisions_table.chain(pipeline.store)[-1]["body"])
    assert (body["verdict"], body["to_version"]) == ("cancelled", 1)


@pytest.mark.parametrize(
    ("at", "fix"), [("canary", "canary stop reviews"), ("awaiting_approval", "loraloop promotions reject")]
)
def test_a_run_that_waits_names_what_ends_it(scheduler: Scheduler, at: str, fix: str) -> None:
    pipeline = scheduler.pipeline
    run = pipeline.queue("reviews", "test")
    pipeline.runs.set_state(run, at)
    with pytest.raises(NotReady, match=fix):
        ask(scheduler, run.id, "cancel")
    assert state(pipeline, run.id) == at
