"""Facts about learning curves: when a run makes one, what it says, and how it continues."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from core.db import decisions as decisions_table
from core.db import runs as runs_table
from core.errors import TrainingFailed
from core.model_folder import ModelFolder
from core.settings import RetrainSettings, Settings, build
from ops import views
from ops.cli.runs import curve_lines
from ops.console.svg.search import share_curve
from retrain.interruptions import Interruption
from retrain.pipeline import RetrainPipeline
from retrain.search.learning_curve import RESAMPLES, SHARES, Point, conclusion, gain_of, plan_curve
from retrain.trainer.job import ADAPTER, CHECKPOINT, REPORT, TRIALS, Job, Report, Step
from tests.support.pipeline import NOW, StubTrainer, state, vote
from tests.support.tiny_models import save_base
from tests.unit.retrain.search.test_real_search import DirectTrainer

WHOLE = "share-3"


class CurveTrainer(StubTrainer):
    """Trains nothing, and scores a job by the share of its rows. `before` is called before each step."""

    def __init__(self, before: Callable[[Job, int], None] = lambda *_: None) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.before = before
        self.ended = False

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        self.jobs.append(job)
        self.ended = False
        folder = Path(job.output)
        (folder / ADAPTER).mkdir(parents=True, exist_ok=True)
        (folder / CHECKPOINT).write_text("half")
        for step in range(1, 5):
            self.before(job, step)
            progress(Step(step, 4, {"loss": 0.5}))
            if self.ended:
                raise TrainingFailed("it was ended")
        Report(round(80 * job.share), {}, True, dev_of(0.5 + job.share / 4) if job.resamples else None).write(
            folder / REPORT
        )
        return folder / ADAPTER

    def interrupt(self, run_id: str, *, save: bool) -> None:
        self.ended = True


def dev_of(score: float, noise: float = 0.01, voters: int = 30, seed: int = 0) -> dict[str, Any]:
    samples = score + noise * np.random.default_rng(seed).standard_normal(1000)
    return {"rows": 60, "score": {"dev_score": score}, "scores": [], "samples": samples.tolist(), "voters": voters}


def report(score: float, **more: Any) -> Report:
    return Report(100, {}, True, dev_of(score, **more))


@pytest.fixture
def curved(settings: Settings, make: Callable[..., RetrainPipeline]) -> Callable[..., RetrainPipeline]:
    def made(trainer: StubTrainer | None = None, mode: str = "auto", votes: int = 120) -> RetrainPipeline:
        plain = settings.model_dump(mode="json", exclude={"keys"})
        plain["models"]["reviews"]["retrain"]["learning_curve"] = mode
        plain["models"]["reviews"]["split"] = {"train": 0.5, "dev": 0.3}
        pipeline = make(trainer or CurveTrainer(), changed=build(plain))
        vote(pipeline.store, votes)
        return pipeline

    return made


def curve_of(pipeline: RetrainPipeline, run: str) -> dict[str, Any]:
    return views.run(pipeline.store, run)["detail"].get("learning_curve", {})


def jobs_of(pipeline: RetrainPipeline) -> list[Job]:
    assert isinstance(pipeline.trainer, CurveTrainer)
    return pipeline.trainer.jobs


def test_a_run_trains_with_each_share_and_says_whether_more_rows_would_help(
    curved: Callable[..., RetrainPipeline],
) -> None:
    pipeline = curved()
    run = pipeline.run("reviews", "test")
    found, jobs = curve_of(pipeline, run), jobs_of(pipeline)
    assert state(pipeline, run) == "finished" and len(jobs) == 5
    assert [job.share for job in jobs] == [1 / 8, 1 / 4, 1 / 2, 1.0, 1.0]
    assert {(job.scores, job.resamples, job.min_rows) for job in jobs[:4]} == {(1, RESAMPLES, 1)}
    assert (jobs[-1].scores, jobs[-1].resamples) == (0, 0)
    assert [(point["state"], point["rows"]) for point in found["points"]] == [
        ("complete", rows) for rows in (10, 20, 40, 80)
    ]
    assert found["reason"] == "No learning curve of SFT has been made yet."
    assert "changed by +0.125" in found["conclusion"] and found["conclusion"].endswith("would probably help.")
    assert found["gain"]["low"] == found["gain"]["high"] == 0.125  # the stub's noise is the same in both
    lineage = json.loads(decisions_table.chain(pipeline.store)[0]["body"])["lineage"]
    assert "share" not in lineage["training"] and "resamples" not in lineage["training"]
    folder = pipeline.settings.data / "runs" / run / TRIALS
    assert not [*folder.rglob(ADAPTER), *folder.rglob(f"{CHECKPOINT}*")]


def test_the_cost_of_a_curve_is_in_the_ledger(curved: Callable[..., RetrainPipeline]) -> None:
    pipeline = curved()
    seconds = iter(range(0, 100_000, 10))
    pipeline.searches._curves._clock = lambda: NOW + timedelta(seconds=next(seconds))
    run = pipeline.run("reviews", "test")
    lineage = json.loads(decisions_table.chain(pipeline.store)[0]["body"])["lineage"]
    assert lineage["cost"]["curve_s"] == 40.0
    assert [point["seconds"] for point in curve_of(pipeline, run)["points"]] == [10.0] * 4


def test_without_the_setting_there_is_no_curve(curved: Callable[..., RetrainPipeline]) -> None:
    pipeline = curved(mode="off")
    run = pipeline.run("reviews", "test")
    assert curve_of(pipeline, run) == {} and len(jobs_of(pipeline)) == 1
    lineage = json.loads(decisions_table.chain(pipeline.store)[0]["body"])["lineage"]
    assert "curve_s" not in lineage["cost"]


def test_the_next_curve_is_made_when_the_rows_have_doubled(curved: Callable[..., RetrainPipeline]) -> None:
    pipeline = curved()
    first = pipeline.run("reviews", "test")
    vote(pipeline.store, 30, spool="more")
    second = pipeline.run("reviews", "test")
    assert curve_of(pipeline, second) == {}
    vote(pipeline.store, 300, spool="many")
    third = pipeline.run("reviews", "test")
    found = curve_of(pipeline, third)
    assert found["reason"].startswith("The train rows have doubled, from ")
    assert found["rows"] >= 2 * curve_of(pipeline, first)["rows"] and "conclusion" in found


def test_a_training_that_fails_is_kept_and_the_run_goes_on(curved: Callable[..., RetrainPipeline]) -> None:
    def fail(job: Job, step: int) -> None:
        if job.output.endswith(WHOLE):
            raise TrainingFailed("The loss of step 1 is nan.")

    pipeline = curved(CurveTrainer(fail))
    run = pipeline.run("reviews", "test")
    found = curve_of(pipeline, run)
    assert state(pipeline, run) == "finished"
    assert [point["state"] for point in found["points"]] == ["complete"] * 3 + ["failed"]
    assert found["gain"] is None
    assert found["conclusion"].endswith("does not say whether more rows would help. The loss of step 1 is nan.")
    # A curve without a gain does not count as made.
    vote(pipeline.store, 5, spool="more")
    again = pipeline.run("reviews", "test")
    assert curve_of(pipeline, again)["reason"] == "No learning curve of SFT has been made yet."


def test_a_paused_curve_continues_with_the_training_that_was_under_way(
    curved: Callable[..., RetrainPipeline],
) -> None:
    def pause(job: Job, step: int) -> None:
        if job.output.endswith("share-1") and step == 3 and not paused:
            paused.append(job)
            pipeline.interruptions._wanted[job.run_id] = Interruption("pause", "key:ada", "")

    paused: list[Job] = []
    pipeline = curved(CurveTrainer(pause))
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "paused"
    assert [point["state"] for point in curve_of(pipeline, run)["points"]] == ["complete", "running"]
    assert (Path(paused[0].output) / CHECKPOINT).exists()
    pipeline.interruptions.release(run, "key:ada", "")
    left = pipeline.runs.find(run)
    assert left
    pipeline.execute(left)
    assert state(pipeline, run) == "finished"
    assert [point["state"] for point in curve_of(pipeline, run)["points"]] == ["complete"] * 4
    assert [job.share for job in jobs_of(pipeline)] == [1 / 8, 1 / 4, 1 / 4, 1 / 2, 1.0, 1.0]


def test_a_curve_that_control_was_killed_in_continues(curved: Callable[..., RetrainPipeline]) -> None:
    class Killed(BaseException):
        pass

    def kill(job: Job, step: int) -> None:
        if job.output.endswith("share-2") and step == 2 and not killed:
            killed.append(job)
            raise Killed

    killed: list[Job] = []
    pipeline = curved(CurveTrainer(kill))
    with pytest.raises(Killed):
        pipeline.run("reviews", "test")
    (left,) = pipeline.recover()
    pipeline.resume(left)
    assert state(pipeline, left.id) == "finished"
    assert [job.share for job in jobs_of(pipeline)] == [1 / 8, 1 / 4, 1 / 2, 1 / 2, 1.0, 1.0]
    assert "conclusion" in curve_of(pipeline, left.id)


def test_too_few_dev_rows_make_no_curve_and_say_so() -> None:
    found = plan_curve("auto", None, method="sft", rows=400, dev_rows=19)
    assert (found.makes, found.reason) == (False, "No learning curve: the dev part has 19 rows; 20 are needed.")


@pytest.mark.parametrize(("rows", "makes"), [(199, False), (200, True)])
def test_auto_makes_a_curve_from_the_double_number_of_rows(rows: int, makes: bool) -> None:
    assert plan_curve("auto", 100, method="sft", rows=rows, dev_rows=50).makes is makes
    assert not plan_curve("off", None, method="sft", rows=rows, dev_rows=50).makes


def said(half: Report | None, whole: Report | None) -> str:
    points: Sequence[Point] = [Point(share) for share in SHARES[:2]]
    points = [*points, Point(0.5).with_report(half), Point(1.0).with_report(whole)]
    return conclusion(points, gain_of(points, half, whole))


def test_nothing_is_claimed_within_the_noise_of_the_dev_part() -> None:
    # The noise of both is independent, with a standard deviation of 0.01: the interval of a gain is about ±0.028.
    assert said(report(0.60), report(0.61, seed=1)).endswith("does not say whether more rows would help.")
    assert "within chance" in said(report(0.60), report(0.59, seed=1))
    assert said(report(0.60), report(0.70, seed=1)).endswith("More rows would probably help.")
    assert said(report(0.60), report(0.50, seed=1)).endswith("More rows of this kind made the score worse.")


def test_a_gain_is_by_pairs_so_that_equal_noise_is_no_noise() -> None:
    assert said(report(0.60, noise=0.1), report(0.61, noise=0.1)).endswith("More rows would probably help.")


def test_too_few_voters_have_no_interval() -> None:
    half, whole = report(0.60, voters=1), report(0.70, voters=1)
    assert "the dev part has 1 voters, too few for an interval" in said(half, whole)
    assert "A score is missing" not in said(half, whole)


def test_a_report_without_a_score_is_a_failed_training() -> None:
    found = Point(1.0).with_report(Report(100, {}, True))
    assert (found.state, found.reason) == ("failed", "The dev part has too few rows that can be scored.")
    assert "does not say" in said(report(0.6), None)


def test_yaml_reads_off_as_a_boolean() -> None:
    assert RetrainSettings.model_validate({"learning_curve": False}).learning_curve == "off"
    with pytest.raises(ValidationError):
        RetrainSettings.model_validate({"learning_curve": "always"})


def test_the_command_line_and_the_chart_have_each_share() -> None:
    points: list[dict[str, Any]] = [
        {"share": 0.5, "state": "complete", "rows": 40, "score": 0.6, "low": 0.5, "high": 0.7, "seconds": 60.0},
        {"share": 1.0, "state": "failed", "rows": None, "score": None, "low": None, "high": None, "seconds": 5.0},
    ]
    points = [point | {"reason": "The disk is full." if point["state"] == "failed" else ""} for point in points]
    curve = {"reason": "Why.", "points": points, "conclusion": "It does not say."}
    assert curve_lines(curve) == [
        "Why.",
        "1/2 of the rows: 40 rows, dev score 0.600 (0.500 to 0.700), 60 s",
        "all rows: The disk is full.",
        "It does not say.",
    ]
    assert curve_lines({}) == []
    drawn = str(share_curve(points))
    assert "40 rows 0.600." in drawn and drawn.count("<circle") == 1
    assert "No training of the curve has a score yet." in share_curve([points[1]])


def test_a_curve_of_real_trainings_is_the_same_in_the_next_run(
    settings: Settings, make: Callable[..., RetrainPipeline], tmp_path: Path
) -> None:
    base, found = save_base(tmp_path / "base"), []
    for least in (10, 11):  # the settings differ, so that the second run is not a repetition
        plain = settings.model_dump(mode="json", exclude={"keys"})
        plain["engine"]["dtype"] = "float32"
        model: dict[str, Any] = plain["models"]["reviews"]
        model["split"] = {"train": 0.4, "dev": 0.4}
        model["retrain"] |= {"learning_curve": "auto", "rank": 4, "batch_size": 8, "min_steps": 8, "threads": 1}
        model["retrain"] |= {"learning_rate": 1e-2, "min_new_feedback": least, "seed": 0}
        pipeline = make(DirectTrainer(), changed=build(plain))
        pipeline.base = ModelFolder("base", base)
        if least == 10:
            vote(pipeline.store, 80)
        else:
            runs_table.set_detail(pipeline.store, id=found[0][0], detail="{}")  # as if there had been no curve
        run = pipeline.run("reviews", "test")
        assert state(pipeline, run) == "finished"
        points = [point | {"seconds": None} for point in curve_of(pipeline, run)["points"]]
        assert [point["state"] for point in points] == ["complete"] * 4
        rows = [point["rows"] for point in points]
        assert rows == sorted(rows) and rows[0] < rows[-1]
        assert all(point["low"] <= point["score"] <= point["high"] for point in points)
        found.append((run, points))
    assert found[0][1] == found[1][1]
