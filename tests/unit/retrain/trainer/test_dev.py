"""Facts about stopping by the dev part: the weights with the lowest loss are kept, also after a kill."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedback.snapshot import Row
from retrain.trainer import dev
from retrain.trainer import train as trainer
from retrain.trainer.dev import DevLosses
from retrain.trainer.dev_score import LEAST_ROWS
from retrain.trainer.job import REPORT, Job, Report, Step
from tests.unit.retrain.trainer.test_training import Killed, base, make_job, rows_of, trained  # noqa: F401 — fixtures


def test_chance_in_the_dev_loss_stops_nothing_and_the_later_weights_are_kept() -> None:
    """The losses of a run of the demo, whose adapter was worse at step 75 than at the end."""
    losses = DevLosses(patience=3)
    for step, loss in ((25, 0.366829), (50, 0.39093), (75, 0.340427), (100, 0.353591), (125, 0.438471)):
        losses.add(step, loss)
    assert losses.add(150, 0.355344) and losses.best == (150, 0.355344) and not losses.stops


def test_a_loss_below_zero_has_the_same_tolerance() -> None:
    losses = DevLosses(patience=1)
    assert [losses.add(step, loss) for step, loss in ((5, -1.0), (10, -0.96), (15, -0.9))] == [True, True, False]
    assert losses.best == (10, -0.96) and losses.stops


def test_a_training_stops_after_patience_and_the_last_good_loss_is_the_best() -> None:
    losses = DevLosses(patience=2)
    assert [losses.add(step, loss) for step, loss in ((5, 0.9), (10, 0.4), (15, 0.5), (20, 0.6))] == [
        True,
        True,
        False,
        False,
    ]
    assert losses.best == (10, 0.4) and losses.stops
    report = losses.report(30, 100)
    assert (report["kept"], report["steps"], report["total"]) == (10, 20, 100)
    assert report["reason"] == (
        "Stopped at step 20 of 100: the dev loss was clearly worse 2 times in a row. "
        "The adapter of step 10 is kept, with a loss of 0.4000 on 30 dev rows."
    )


def test_a_loss_that_falls_until_the_end_stops_nothing() -> None:
    losses = DevLosses(patience=1)
    for step in (5, 10):
        losses.add(step, 1 / step)
    assert not losses.stops and "Ended at its last step, 10." in losses.report(30, 10)["reason"]


def dev_rows(count: int, *, wrong: bool) -> list[Row]:
    """Rows of a dev part, whose labels are those of the train rows, or one that no train row has."""
    rows = rows_of(count, "dev")
    return [replace(row, bucket="dev", label="xyzwxyzw" if wrong else row.label) for row in rows]


@pytest.fixture
def job_with_dev(
    make_job: Callable[..., Job],  # noqa: F811 — the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Job]:
    # The loss of a tiny model on a label that it never learns rises slowly, and by no chance.
    monkeypatch.setattr(dev, "TOLERANCE", 0.0)

    def made(output: str, *, wrong: bool = False, count: int = 24, **more: Any) -> Job:
        rows = rows_of(24) + dev_rows(count, wrong=wrong)
        values = {"epochs": 10.0, "dev_steps": 5, "patience": 2} | more
        return make_job(output, rows=rows, **values)

    return made


def report_of(job: Job) -> dict[str, Any]:
    found = Report.read(Path(job.output) / REPORT)
    assert found and found.dev
    return found.dev


def test_a_dev_part_that_gets_worse_stops_the_training_and_the_best_weights_are_saved(
    job_with_dev: Callable[..., Job],
) -> None:
    job = job_with_dev("a", wrong=True)
    adapter, steps = trained(job)
    found = report_of(job)
    assert found["kept"] < found["steps"] < found["total"] == 60
    assert [step.metrics["dev_loss"] for step in steps if "dev_loss" in step.metrics] == [
        loss for _, loss in found["losses"]
    ]
    # The rate of a step depends on the number of all steps, so the kept weights are compared with a stop right there.
    stopped = job_with_dev("b", wrong=True, patience=1)
    again, _ = trained(stopped)
    assert report_of(stopped)["kept"] == found["kept"] and again == adapter


def test_a_dev_part_that_improves_trains_to_the_last_step(job_with_dev: Callable[..., Job]) -> None:
    job = job_with_dev("a", epochs=3.0)
    _, steps = trained(job)
    found = report_of(job)
    assert steps[-1].done == found["steps"] == found["total"] == 18
    assert found["losses"][-1][0] == 18 and found["losses"][-1][1] < found["losses"][0][1]


def test_too_few_dev_rows_measure_nothing(job_with_dev: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    job = job_with_dev("a", count=LEAST_ROWS - 1)
    _, steps = trained(job)
    assert "No dev part: 19 dev rows, 20 are needed." in capsys.readouterr().out
    assert steps[-1].done == 60
    report = Report.read(Path(job.output) / REPORT)
    assert report and report.dev is None


@pytest.mark.parametrize("after", [3, 7, 12])
def test_a_training_that_continues_keeps_the_same_best_weights(job_with_dev: Callable[..., Job], after: int) -> None:
    undisturbed = job_with_dev("undisturbed", wrong=True)
    expected, _ = trained(undisturbed)
    job = job_with_dev("killed", wrong=True, checkpoint_s=0.0)

    def report(step: Step) -> None:
        if step.done == after + 1:
            raise Killed

    if after < report_of(undisturbed)["steps"]:
        with pytest.raises(Killed):
            trainer.train(job, report)
    assert trained(job)[0] == expected
    assert report_of(job) == report_of(undisturbed)


@pytest.mark.parametrize("objective", ["sft"])
def test_the_dev_rows_are_part_of_what_a_checkpoint_belongs_to(
    job_with_dev: Callable[..., Job], objective: str
) -> None:
    job = job_with_dev("a", wrong=True, checkpoint_s=0.0, epochs=3.0)
    trained(job)
    other = replace(job_with_dev("a", checkpoint_s=0.0, epochs=3.0), output=job.output)
    _, steps = trained(other)
    assert steps[0].done == 1
