"""Facts about searches of runs: trials are kept, pruned, continued and cancelled, and the best values train."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from core.db import decisions as decisions_table
from core.db import trials as trials_table
from core.errors import TooFewRows, TrainingFailed
from core.settings import Settings, build
from ops import views
from retrain.interruptions import Interruption
from retrain.pipeline import RetrainPipeline
from retrain.search.trials import PARTS
from retrain.trainer.job import ADAPTER, CHECKPOINT, REPORT, TRIALS, Job, Report, Step
from tests.support.pipeline import StubTrainer, decisions, state, vote

# The dev score of a training is higher the nearer its rate is to this.
BEST_RATE = 1e-3


class ScoringTrainer(StubTrainer):
    """Trains nothing, and scores a job by its learning rate. `before` is called before each step."""

    def __init__(self, before: Callable[[Job, int], None] = lambda *_: None) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.before = before
        self.ended = False

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        self.jobs.append(job)
        self.ended = False
        folder = Path(job.output)
        (folder / ADAPTER).mkdir(parents=True)
        for name in (CHECKPOINT, f"{CHECKPOINT}.part"):
            (folder / name).write_text("half")
        score = {"dev_score": 0.9 - abs(job.learning_rate - BEST_RATE) * 100}
        for step in range(1, 9):
            self.before(job, step)
            progress(Step(step, 8, {"loss": 0.5} | (score if job.scores and step % 2 == 0 else {})))
            if self.ended:
                raise TrainingFailed("it was ended")
        dev = {"score": score, "scores": [[8, score]], "rows": 30} if job.scores else None
        Report(100, {}, True, dev).write(folder / REPORT)
        return folder / ADAPTER

    def interrupt(self, run_id: str, *, save: bool) -> None:
        self.ended = True


def searching(settings: Settings, search: Any) -> Settings:
    plain = settings.model_dump(mode="json", exclude={"keys"})
    plain["models"]["reviews"]["retrain"]["search"] = search
    plain["models"]["reviews"]["split"] = {"train": 0.5, "dev": 0.3}
    return build(plain)


def with_max_rank(pipeline: RetrainPipeline, rank: int) -> Settings:
    engine = pipeline.settings.engine.model_copy(update={"max_lora_rank": rank})
    return pipeline.settings.model_copy(update={"engine": engine})


@pytest.fixture
def search(settings: Settings, make: Callable[..., RetrainPipeline]) -> Callable[..., RetrainPipeline]:
    def made(trainer: StubTrainer | None = None, search: Any = None, votes: int = 120) -> RetrainPipeline:
        search = {"trials": 6} if search is None else search
        pipeline = make(trainer or ScoringTrainer(), changed=searching(settings, search))
        vote(pipeline.store, votes)
        return pipeline

    return made


def trials_of(pipeline: RetrainPipeline, run: str) -> list[dict[str, Any]]:
    return trials_table.of_run(pipeline.store, run_id=run)


def details(pipeline: RetrainPipeline, run: str) -> dict[str, Any]:
    return views.run(pipeline.store, run)["detail"]["search"]


def trainer_of(pipeline: RetrainPipeline) -> ScoringTrainer:
    assert isinstance(pipeline.trainer, ScoringTrainer)
    return pipeline.trainer


def test_the_best_trial_of_a_search_trains_the_candidate(search: Callable[..., RetrainPipeline]) -> None:
    pipeline = search()
    run = pipeline.run("reviews", "test")
    trials, jobs = trials_of(pipeline, run), trainer_of(pipeline).jobs
    assert state(pipeline, run) == "finished" and len(trials) == 6 and len(jobs) == 7
    best = max((trial for trial in trials if trial["state"] == "complete"), key=lambda trial: trial["score"])
    assert best["number"] != 0 and best["score"] > trials[0]["score"]
    final = jobs[-1]
    assert {name: getattr(final, name) for name in best["values"]} == best["values"]
    assert final.min_steps == 1 and final.scores == 0 and not final.output.endswith("trials/0")
    assert {job.scores for job in jobs[:-1]} == {PARTS}
    assert len({job.output for job in jobs}) == 7
    found = details(pipeline, run)
    assert found["ended"] and found["values"] == best["values"]
    assert f"Trial {best['number']} has the highest dev score" in found["conclusion"]
    lineage = json.loads(decisions_table.chain(pipeline.store)[0]["body"])["lineage"]
    assert lineage["cost"]["trials"] == 6 and lineage["training"]["learning_rate"] == final.learning_rate


def test_the_first_trial_is_the_training_without_a_search(search: Callable[..., RetrainPipeline]) -> None:
    pipeline = search()
    pipeline.run("reviews", "test")
    plain = search(search="off", votes=0)
    plain.run("reviews", "test again")
    first, alone = trainer_of(pipeline).jobs[0], trainer_of(plain).jobs[0]
    assert replace(first, run_id="", output="", scores=0) == replace(alone, run_id="", output="")


def test_every_trial_is_kept_with_its_scores_state_and_cost(search: Callable[..., RetrainPipeline]) -> None:
    pipeline = search()
    run = pipeline.run("reviews", "test")
    trials = trials_of(pipeline, run)
    assert [trial["number"] for trial in trials] == list(range(6))
    for trial in trials:
        assert trial["values"].keys() == {"learning_rate", "epochs", "rank"} and trial["seconds"] >= 0
        if trial["state"] == "complete":
            assert [part for part, _ in trial["scores"]] == [1, 2, 3, 4]
            assert trial["figures"] == {"dev_score": trial["score"]}
        else:
            assert trial["state"] == "pruned" and trial["score"] is None
            assert "below the median of the complete trials" in trial["reason"]
    assert "pruned" in {trial["state"] for trial in trials}
    folder = pipeline.settings.data / "runs" / run / TRIALS
    assert not [*folder.rglob(ADAPTER), *folder.rglob(f"{CHECKPOINT}*")]


def test_a_trial_that_fails_is_kept_and_the_search_goes_on(search: Callable[..., RetrainPipeline]) -> None:
    def fail(job: Job, step: int) -> None:
        if job.output.endswith("trials/1"):
            raise TrainingFailed("The loss of step 3 is nan.")

    pipeline = search(ScoringTrainer(fail))
    run = pipeline.run("reviews", "test")
    trials = trials_of(pipeline, run)
    assert (trials[1]["state"], trials[1]["reason"]) == ("failed", "The loss of step 3 is nan.")
    assert len(trials) == 6 and state(pipeline, run) == "finished"


def test_a_search_whose_configured_values_fail_ends_and_the_run_fails_as_without(
    search: Callable[..., RetrainPipeline],
) -> None:
    def fail(job: Job, step: int) -> None:
        raise TrainingFailed("The disk is full.")

    pipeline = search(ScoringTrainer(fail))
    run = pipeline.run("reviews", "test")
    assert len(trials_of(pipeline, run)) == 1
    assert state(pipeline, run) == "failed" and decisions(pipeline)[-1] == ("failed", "The disk is full.")


def test_too_few_rows_end_the_run_and_not_only_the_trial(search: Callable[..., RetrainPipeline]) -> None:
    def fail(job: Job, step: int) -> None:
        raise TooFewRows("3 rows; 8 are needed")

    pipeline = search(ScoringTrainer(fail))
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "skipped" and decisions(pipeline)[-1] == ("skipped", "3 rows; 8 are needed")


def test_a_search_ends_within_its_time(search: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes 10 seconds: the first trial 80, and the second one is stopped after 60 of its own."""
    from datetime import timedelta

    from tests.support.pipeline import NOW

    passed = 0

    def pass_time(job: Job, step: int) -> None:
        nonlocal passed
        passed += 10

    pipeline = search(ScoringTrainer(pass_time), {"trials": 50, "minutes": 7 / 3})
    monkeypatch.setattr(pipeline.searches, "_clock", lambda: NOW + timedelta(seconds=passed))
    run = pipeline.run("reviews", "test")
    trials = trials_of(pipeline, run)
    assert [(trial["state"], trial["seconds"]) for trial in trials] == [("complete", 80.0), ("stopped", 60.0)]
    assert trials[1]["reason"] == "The time of the search was over."
    assert "2 min are over" in details(pipeline, run)["conclusion"] and state(pipeline, run) == "finished"


def test_a_paused_search_continues_with_the_trial_that_was_under_way(search: Callable[..., RetrainPipeline]) -> None:
    def pause(job: Job, step: int) -> None:
        if job.output.endswith("trials/2") and step == 3 and not paused:
            paused.append(job.run_id)
            pipeline.interruptions._wanted[job.run_id] = Interruption("pause", "key:ada", "the machine is needed")

    paused: list[str] = []
    pipeline = search(ScoringTrainer(pause))
    run = pipeline.run("reviews", "test")
    assert paused == [run] and state(pipeline, run) == "paused"
    trials = trials_of(pipeline, run)
    assert [trial["state"] for trial in trials] == ["complete", "complete", "running"]
    assert trials[2]["scores"] == [[1, pytest.approx(trials[2]["scores"][0][1])]]
    assert (pipeline.settings.data / "runs" / run / TRIALS / "2" / CHECKPOINT).exists()
    (pipeline.settings.data / "runs" / run / TRIALS / "2" / ADAPTER).rmdir()  # what the stub left
    pipeline.interruptions.release(run, "key:ada", "")
    found = pipeline.runs.find(run)
    assert found
    pipeline.execute(found)
    after = trials_of(pipeline, run)
    assert state(pipeline, run) == "finished" and len(after) == 6
    assert after[:2] == trials[:2] and after[2]["state"] == "complete" and after[2]["values"] == trials[2]["values"]


def test_a_search_keeps_its_space_and_passes_over_ranks_that_engines_no_longer_take(
    search: Callable[..., RetrainPipeline],
) -> None:
    """Between pause and continuation, an erasure takes train rows away, and engines take lower ranks."""

    def pause(job: Job, step: int) -> None:
        if job.output.endswith("trials/3") and step == 3 and not paused:
            paused.append(job.run_id)
            pipeline.interruptions._wanted[job.run_id] = Interruption("pause", "key:ada", "")

    paused: list[str] = []
    pipeline = search(ScoringTrainer(pause), {"trials": 8})
    run = pipeline.run("reviews", "test")
    kept = details(pipeline, run)
    ranks = {trial["values"]["rank"] for trial in trials_of(pipeline, run)}
    assert state(pipeline, run) == "paused" and max(ranks) > 8
    (Path(trainer_of(pipeline).jobs[-1].output) / ADAPTER).rmdir()  # what the stub left
    pipeline.settings = with_max_rank(pipeline, 8)
    pipeline.interruptions.release(run, "key:ada", "")
    found = pipeline.runs.find(run)
    assert found
    with mock.patch("retrain.search.search.planned_epochs", return_value=0.2):
        pipeline.execute(found)
    after = details(pipeline, run)
    assert state(pipeline, run) == "finished" and len(trials_of(pipeline, run)) == 8
    assert (after["epochs"], after["max_rank"]) == (kept["epochs"], kept["max_rank"])
    assert all(trial["values"]["epochs"] >= kept["epochs"] / 2 for trial in trials_of(pipeline, run))
    assert after["values"].get("rank", 8) <= 8 and "engine.max_lora_rank, now 8, do not count" in after["conclusion"]


def test_a_search_that_control_was_killed_in_continues(search: Callable[..., RetrainPipeline]) -> None:
    class Killed(BaseException):
        pass

    def kill(job: Job, step: int) -> None:
        if job.output.endswith("trials/1") and step == 5 and not killed:
            killed.append(job)
            raise Killed

    killed: list[Job] = []
    pipeline = search(ScoringTrainer(kill))
    with pytest.raises(Killed):
        pipeline.run("reviews", "test")
    (left,) = pipeline.recover()
    (Path(killed[0].output) / ADAPTER).rmdir()
    pipeline.resume(left)
    assert state(pipeline, left.id) == "finished" and len(trials_of(pipeline, left.id)) == 6
    again = [job for job in trainer_of(pipeline).jobs if job.output == killed[0].output]
    assert again == [killed[0], killed[0]]


def test_a_cancelled_search_leaves_no_checkpoint_and_no_candidate(search: Callable[..., RetrainPipeline]) -> None:
    def cancel(job: Job, step: int) -> None:
        if job.output.endswith("trials/1") and step == 3:
            pipeline.interruptions._wanted[job.run_id] = Interruption("cancel", "key:ada", "wrong labels")

    pipeline = search(ScoringTrainer(cancel))
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "cancelled" and decisions(pipeline)[-1][0] == "cancelled"
    assert not (pipeline.settings.data / "runs" / run / TRIALS).exists()
    assert [trial["state"] for trial in trials_of(pipeline, run)] == ["complete", "stopped"]


def test_auto_trains_with_what_the_last_search_found_until_the_rows_have_doubled(
    search: Callable[..., RetrainPipeline],
) -> None:
    pipeline = search(search={"mode": "auto", "trials": 4})
    first = pipeline.run("reviews", "test")
    found = details(pipeline, first)["values"]
    assert found and len(trials_of(pipeline, first)) == 4
    vote(pipeline.store, 30, spool="more")
    second = pipeline.run("reviews", "test")
    assert trials_of(pipeline, second) == []
    assert details(pipeline, second)["values"] == found
    assert f"those of the search of run {first}" in details(pipeline, second)["reason"]
    assert trainer_of(pipeline).jobs[-1].learning_rate == found["learning_rate"]
    vote(pipeline.store, 200, spool="many")
    third = pipeline.run("reviews", "test")
    assert "The train rows have doubled" in details(pipeline, third)["reason"]
    assert len(trials_of(pipeline, third)) == 4


def test_auto_searches_again_where_engines_take_other_ranks(search: Callable[..., RetrainPipeline]) -> None:
    pipeline = search(search={"mode": "auto", "trials": 4})
    pipeline.run("reviews", "test")
    vote(pipeline.store, 30, spool="more")
    pipeline.settings = with_max_rank(pipeline, 8)
    second = pipeline.run("reviews", "test")
    trials = trials_of(pipeline, second)
    assert "settings of trainings have changed" in details(pipeline, second)["reason"] and len(trials) == 4
    assert trainer_of(pipeline).jobs[-1].rank <= 8


def test_auto_searches_again_after_a_search_that_found_nothing(search: Callable[..., RetrainPipeline]) -> None:
    def fail(job: Job, step: int) -> None:
        if not failed or failed == [job.run_id]:
            failed.append(job.run_id)
            raise TrainingFailed("The disk is full.")

    failed: list[str] = []
    pipeline = search(ScoringTrainer(fail), {"mode": "auto", "trials": 4})
    first = pipeline.run("reviews", "test")
    assert state(pipeline, first) == "failed" and details(pipeline, first)["ended"]
    second = pipeline.run("reviews", "test")
    assert "No search of SFT has ended with a score yet" in details(pipeline, second)["reason"]
    assert len(trials_of(pipeline, second)) == 4 and state(pipeline, second) == "finished"


def test_a_small_dev_part_trains_with_the_configured_values_and_says_why(
    search: Callable[..., RetrainPipeline],
) -> None:
    pipeline = search(votes=40)
    run = pipeline.run("reviews", "test")
    assert "No search: the dev part has" in details(pipeline, run)["reason"] and trials_of(pipeline, run) == []
    assert len(trainer_of(pipeline).jobs) == 1 and state(pipeline, run) == "finished"


def test_without_the_setting_there_is_no_search(search: Callable[..., RetrainPipeline]) -> None:
    pipeline = search(search="off")
    run = pipeline.run("reviews", "test")
    assert "search" not in views.run(pipeline.store, run)["detail"] and len(trainer_of(pipeline).jobs) == 1
    lineage = json.loads(decisions_table.chain(pipeline.store)[0]["body"])["lineage"]
    assert lineage["cost"]["trials"] == 1 and lineage["cost"]["search_s"] == 0
