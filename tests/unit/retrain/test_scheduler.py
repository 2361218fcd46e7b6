"""Facts about the scheduler: it starts each run once, and it reports work that breaks off."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from core.db import runs as runs_table
from core.db.store import Transaction
from core.errors import RunInProgress, SettingsError
from core.settings import Settings
from ops.actions import Actions, By
from retrain.pipeline import RetrainPipeline
from retrain.scheduler import Scheduler
from tests.support.pipeline import NOW, decisions, vote

EARLIER = NOW - timedelta(days=365)


def test_the_scheduler_starts_a_run_on_enough_votes_and_only_once(
    make: Callable[..., RetrainPipeline], settings: Settings
):
    pipeline = make()
    scheduler = Scheduler(
        settings=settings,
        store=pipeline.store,
        pipeline=pipeline,
        steps=pipeline.steps,
        watch=lambda: None,
        reconcile=lambda: None,
    )
    scheduler.start()
    vote(pipeline.store, 60)
    scheduler.check()
    deadline = time.monotonic() + 20
    while not decisions(pipeline) and time.monotonic() < deadline:
        time.sleep(0.05)
    scheduler.check()
    scheduler.stop()
    runs = runs_table.newest(pipeline.store, model="reviews", limit=10)
    assert [run["trigger"] for run in runs] == [
        "Triggered by new feedback on 60 answers from 60 voters (thresholds 10 and 5)"
    ]


def test_the_votes_of_a_model_whose_run_goes_on_are_not_counted(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    pipeline = make()
    scheduler, proposed = scheduled(pipeline), list[str]()
    monkeypatch.setattr(scheduler, "propose", lambda model, _: proposed.append(model))
    vote(pipeline.store, 60)
    runs_table.add(
        pipeline.store, id="r", model="reviews", trigger="t", state="training", started=NOW, feedback_until=EARLIER
    )
    scheduler.check()
    assert proposed == []
    runs_table.set_state(pipeline.store, state="failed", reason="it broke off", time=NOW, id="r")
    scheduler.check()
    assert proposed == ["reviews"]


def scheduled(pipeline: RetrainPipeline) -> Scheduler:
    return Scheduler(
        settings=pipeline.settings,
        store=pipeline.store,
        pipeline=pipeline,
        steps=pipeline.steps,
        watch=lambda: None,
        reconcile=lambda: None,
    )


def settled(scheduler: Scheduler) -> None:
    """Waits until no run is queued or under way."""
    deadline = time.monotonic() + 20
    while scheduler._work.total():
        assert time.monotonic() < deadline, "a run does not end"
        time.sleep(0.01)


def runs(pipeline: RetrainPipeline) -> list[dict[str, Any]]:
    return runs_table.newest(pipeline.store, model=None, limit=100)


def test_people_and_triggers_that_ask_at_once_start_one_run(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    pipeline, refused = make(), []
    scheduler, row = scheduled(pipeline), pipeline.store.maybe
    together, control = (
        threading.Barrier(5),
        SimpleNamespace(scheduler=scheduler, promotion=pipeline.promotion, settings=pipeline.settings),
    )
    actions = Actions(control)  # type: ignore[arg-type]

    def slow(name: str, **parameters: Any) -> Any:
        found = row(name, **parameters)
        if name == "runs.unfinished_of":
            time.sleep(0.05)
        return found

    def ask(place: int) -> None:
        together.wait()
        try:
            if place % 2:
                actions.evaluate("reviews", None, ["format"], By("me"))
            else:
                actions.retrain("reviews", By("me"))
        except RunInProgress as error:
            refused.append(str(error))

    # Nobody's run may end before everybody has asked.
    asked_all, run, measure = threading.Event(), pipeline.execute, pipeline.suites.measure
    monkeypatch.setattr(pipeline, "execute", lambda *about: (asked_all.wait(20), run(*about))[1])
    monkeypatch.setattr(pipeline.suites, "measure", lambda *about: (asked_all.wait(20), measure(*about))[1])
    monkeypatch.setattr(pipeline.store, "maybe", slow)
    asking = [threading.Thread(target=ask, args=(place,)) for place in range(5)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(20)
    asked_all.set()
    settled(scheduler)
    scheduler.pipeline.trainer.stop()
    assert len(refused) == 4 and all("A run of reviews is under way." in reason for reason in refused)
    assert len(runs(pipeline)) == 1


@pytest.mark.parametrize("point", ["runs.set_state", "record_decision"])
def test_work_that_breaks_off_is_logged_and_leaves_no_run_open(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, point: str
):
    pipeline = make()
    vote(pipeline.store, 6)
    scheduler, broken = scheduled(pipeline), [True]
    real, record = Transaction.run, pipeline.promotion.record_decision

    def run(self: Transaction, name: str, **parameters: Any) -> None:
        if name == point and broken:
            raise RuntimeError(f"no {broken.pop()}")
        real(self, name, **parameters)

    def recorded(*about: Any, **more: Any) -> None:
        if point == "record_decision" and broken:
            raise RuntimeError(f"no {broken.pop()}")
        record(*about, **more)

    monkeypatch.setattr(Transaction, "run", run)
    monkeypatch.setattr(pipeline.promotion, "record_decision", recorded)
    scheduler.start_run("reviews", "first", "key:ada", "for the demo")
    settled(scheduler)
    assert "no True" in caplog.text and runs_table.unfinished(pipeline.store) == []
    scheduler.start_run("reviews", "second")
    settled(scheduler)
    assert decisions(pipeline)[-1][0] == "skipped"


def test_a_wrong_cron_line_names_its_key(make: Callable[..., RetrainPipeline], settings: Settings):
    model = settings.models["reviews"]
    retrain = model.retrain.model_copy(update={"schedule": "every day"})
    wrong = settings.model_copy(update={"models": {"reviews": model.model_copy(update={"retrain": retrain})}})
    pipeline = make()
    with pytest.raises(SettingsError, match=r"models\.reviews\.retrain\.schedule"):
        Scheduler(
            settings=wrong,
            store=pipeline.store,
            pipeline=pipeline,
            steps=pipeline.steps,
            watch=lambda: None,
            reconcile=lambda: None,
        )
