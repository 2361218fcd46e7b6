"""Facts about progress in words, and the estimate before a training."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from core.db import runs as runs_table
from retrain.pipeline import RetrainPipeline
from retrain.progress import describe, duration
from retrain.runs import Runs
from retrain.trainer.job import Step
from retrain.trainer.objective_order import OrderProgress
from tests.support.pipeline import NOW


def test_a_step_has_what_is_known_of_it() -> None:
    metrics = {"loss": 0.41234, "tokens_per_s": 1455.2, "seconds_left": 200.0, "memory_gb": 1.93}
    found = describe("training", Step(40, 1500, metrics))
    assert found == "training 40 of 1,500, loss 0.412, 1,455 tokens/s, 3 min left, 1.9 GB"
    assert describe("evaluating", Step(50, 100, {})) == "evaluating 50 of 100"
    assert (
        describe("training", Step(40, 90, {"loss": 0.4, "objective": "DPO"})) == "training 40 of 90 (DPO), loss 0.400"
    )


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5400, "1 h 30 min")])
def test_a_duration_is_rounded_to_what_people_need(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_estimate_is_by_the_median_step_of_the_newest_training(make: Callable[..., RetrainPipeline]) -> None:
    pipeline = make()
    first = pipeline.queue("reviews", "first")
    pipeline.runs.estimate(first, {"sft": 150})
    assert pipeline.runs.details(first)["estimate"]["text"] == (
        "150 steps. No earlier training says how long they take."
    )
    now = NOW
    for done, pause in enumerate((0, 2, 2, 3600, 2), 1):  # it was paused for an hour
        now += timedelta(seconds=pause)
        add_step(pipeline, first.id, now, done)
    second = pipeline.queue("reviews", "second")
    pipeline.runs.estimate(second, {"sft": 150})
    assert pipeline.runs.details(second)["estimate"] == {
        "steps": 150,
        "seconds": 300.0,
        "text": "150 steps, about 5 min by the last training.",
    }
    third = pipeline.queue("reviews", "third")
    pipeline.runs.estimate(third, {"sft": 150, "dpo": 1500})
    assert pipeline.runs.details(third)["estimate"] == {
        "steps": 1650,
        "seconds": 3300.0,
        "text": "1,650 steps (150 of SFT and 1,500 of DPO), about 55 min by the last training.",
    }


def add_step(pipeline: RetrainPipeline, run: str, time: object, done: int) -> None:
    runs_table.add_metric(
        pipeline.store,
        run_id=run,
        time=time,  # type: ignore[arg-type]
        phase="training",
        done=done,
        total=150,
        metrics="{}",
    )


def test_an_evaluation_has_the_seconds_that_are_left(make: Callable[..., RetrainPipeline]) -> None:
    pipeline = make()
    now = [NOW]
    kept = Runs(pipeline.store, lambda: now[0], pipeline.settings.data)
    run = pipeline.queue("reviews", "test")
    report = kept.progress(run, "evaluating")
    for done in range(1, 101):
        report(done, 400)
        now[0] += timedelta(seconds=1)
    (last,) = runs_table.progress(pipeline.store, runs=[run.id])
    assert (last["done"], last["metrics"]) == (100, {"seconds_left": 300.0})


def reported(steps: Sequence[tuple[int, int, float, float]], place: int, progress: OrderProgress) -> None:
    report = progress.of_objective(place)
    for done, total, seconds, left in steps:
        report(Step(done, total, {"loss": 0.5, "seconds": seconds, "seconds_left": left}))


def test_progress_counts_steps_seconds_and_time_left_of_both_objectives() -> None:
    seen: list[Step] = []
    progress = OrderProgress(seen.append, (("SFT", 2), ("DPO", 4)))
    reported([(1, 2, 3.0, 3.0), (2, 2, 6.0, 0.0)], 0, progress)
    reported([(1, 4, 5.0, 15.0), (4, 4, 20.0, 0.0)], 1, progress)
    assert [(step.done, step.total, step.metrics["objective"]) for step in seen] == [
        (1, 6, "SFT"),
        (2, 6, "SFT"),
        (3, 6, "DPO"),
        (6, 6, "DPO"),
    ]
    # The second objective is expected at the pace of the first until it has begun.
    assert [step.metrics["seconds_left"] for step in seen] == [15.0, 12.0, 15.0, 0.0]
    assert [step.metrics["seconds"] for step in seen] == [3.0, 6.0, 11.0, 26.0]


def test_a_training_with_one_objective_reports_its_steps_as_they_are() -> None:
    seen: list[Step] = []
    reported([(1, 2, 3.0, 3.0)], 0, OrderProgress(seen.append, (("SFT", 2),)))
    assert seen == [Step(1, 2, {"loss": 0.5, "seconds": 3.0, "seconds_left": 3.0})]
