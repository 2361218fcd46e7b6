"""Facts about runs: when they start, what they refuse, and what the ledger learns of each end."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.db import decisions as decisions_table
from core.db import live_tests
from core.errors import Conflict, EngineDown, EngineFailed, TrainingFailed
from core.prompts import Text
from core.records import Version
from core.settings import JudgeSettings, Settings, settings_sha256
from eval import holdouts
from eval.evaluation import Result
from retrain.pipeline import RetrainPipeline
from retrain.runs import Run
from retrain.trainer.job import Job
from retrain.trainer.process import Trainer
from serve.adapters.preflight import Adapter
from serve.engines import lease
from serve.engines.lease import EngineLease
from serve.engines.reconciler import EngineState
from tests.support.pipeline import StubTrainer, add_run, checked, decisions, result, state, vote


def test_a_winner_is_promoted_with_its_lineage(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "finished"
    assert pipeline.promotion.route("reviews").champion == 1
    body = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert body["lineage"]["training"]["seed"] == 0
    assert body["lineage"]["config_sha256"] == settings_sha256(pipeline.settings.models["reviews"])
    assert sum(body["lineage"]["rows"].values()) == 60
    assert body["evidence"]["gate"][0]["outcome"] == "pass"


def test_others_write_while_a_trained_adapter_is_checked(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    pipeline, written = make(), []

    def reads_every_tensor(trained: Path, **about: Any) -> Adapter:
        vote(pipeline.store, 5, "before")
        writer = threading.Thread(target=lambda: (vote(pipeline.store, 5, "meanwhile"), written.append(1)), daemon=True)
        writer.start()
        writer.join(10)
        return checked(trained, **about)

    vote(pipeline.store, 60)
    monkeypatch.setattr(pipeline, "check_adapter", reads_every_tensor)
    run = pipeline.run("reviews", "test")
    assert written == [1] and state(pipeline, run) == "finished"


def test_a_candidate_whose_rows_fail_leaves_no_folder(
    make: Callable[..., RetrainPipeline], settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    pipeline = make()
    vote(pipeline.store, 60)

    def fails(*_: Any) -> None:
        raise Conflict("Somebody was first.")

    monkeypatch.setattr(pipeline.promotion, "add_version", fails)
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "failed" and list(settings.adapters.iterdir()) == []


def test_a_loser_is_kept_out_with_the_reason(make: Callable[..., RetrainPipeline]):
    pipeline = make(gain=-0.1)
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    ((verdict, reason),) = decisions(pipeline)
    assert verdict == "kept"
    assert reason.startswith("3 checks did not pass: macro_f1 is 0.100 lower than the champion's")
    assert pipeline.promotion.route("reviews").champion == 0


def test_a_candidate_that_may_be_chance_keeps_the_champion(make: Callable[..., RetrainPipeline]):
    pipeline = make(gain=0.01)
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    assert decisions(pipeline)[0][0] == "inconclusive"
    assert pipeline.promotion.route("reviews").champion == 0


def test_too_little_data_ends_the_run_as_skipped(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 6)
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "skipped"
    assert decisions(pipeline)[0][0] == "skipped"


def test_a_run_that_no_holdout_could_judge_is_skipped_before_it_trains(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    pipeline = make(StubTrainer("must not train"))
    monkeypatch.setattr(pipeline, "find_shortage", holdouts.shortage_reason)
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    ((verdict, reason),) = decisions(pipeline)
    assert (state(pipeline, run), verdict) == ("skipped", "skipped")
    assert "users are missing, which is about" in reason


def test_a_judge_is_closed_and_the_engines_arguments_are_handed_on(
    make: Callable[..., RetrainPipeline], settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    model = settings.models["reviews"]
    judge = JudgeSettings(url="http://judge/v1", model="j")
    model = model.model_copy(update={"evaluation": model.evaluation.model_copy(update={"judge": judge})})
    engine = settings.engine.model_copy(update={"dtype": "float32"})
    pipeline = make(changed=settings.model_copy(update={"models": {"reviews": model}, "engine": engine}))
    seen: list[Any] = []

    def evaluate(*_: Any, **given: Any) -> Result:
        seen.append((given["judge"], given["engine_settings"]))
        raise EngineFailed("It ends badly.")

    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    ((asked, started),) = seen
    assert started is engine
    with pytest.raises(RuntimeError, match="closed"):
        asked.prefer(Text("x"), "a", "b")


def test_a_training_that_fails_is_in_the_ledger_and_changes_nothing(make: Callable[..., RetrainPipeline]):
    pipeline = make(StubTrainer("The trainer was killed."))
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "failed"
    assert decisions(pipeline) == [("failed", "The trainer was killed.")]
    assert pipeline.promotion.route("reviews").champion == 0


def test_with_a_canary_a_winner_first_serves_a_share(make: Callable[..., RetrainPipeline], settings: Settings):
    model = settings.models["reviews"]
    promotion = model.promotion.model_validate({"canary": {"share": 0.25}})
    model = model.model_copy(update={"promotion": promotion})
    pipeline = make(changed=settings.model_copy(update={"models": {"reviews": model}}))
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    route = pipeline.promotion.route("reviews")
    assert (route.champion, route.canary, route.share) == (0, 1, 0.25)
    assert state(pipeline, run) == "canary"
    assert len(live_tests.open_canaries(pipeline.store)) == 1


def test_an_evaluation_waits_for_an_engine_that_restarts(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    pipeline, calls = make(), []
    vote(pipeline.store, 60)
    monkeypatch.setattr(lease, "PAUSE_SECONDS", 0.0)

    def evaluate(*_: Any, **__: Any) -> Result:
        calls.append(1)
        if len(calls) < 3:
            raise EngineDown("The engine does not answer.")
        return result(0.1)

    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    run = pipeline.run("reviews", "test")
    assert (len(calls), state(pipeline, run)) == (3, "finished")


WELL = EngineState("http://well", True, ("reviews@1.x",), ())
CANDIDATE = Version("reviews", 1, "reviews@1.x", "/x", "x", 8, None)
BASE_VERSION = Version("reviews", 0, "base", None, None, 0, None)


def holders_of(states: list[EngineState]) -> EngineLease:
    reconciler: Any = SimpleNamespace(
        clients=[SimpleNamespace(url=state.url) for state in states], reconcile=lambda *_, **__: states
    )
    return EngineLease(reconciler, list, timeout_s=1)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([EngineState("http://down", False, (), ("reviews@1.x",), "does not answer")], 1),
        ([EngineState("http://full", True, (), ("reviews@1.x",), "refused")], 1),
        ([EngineState("http://lame", True, ("reviews@1.x",), ("movies@3.y",), "movies@3 was refused")], 1),
        ([], 0),
    ],
)
def test_one_engine_that_holds_candidate_and_champion_suffices_for_an_evaluation(
    others: list[EngineState], chosen: int
):
    asked: list[str] = []
    states = [*others, WELL]
    holders_of(states).with_engine_serving((CANDIDATE, BASE_VERSION), lambda client: asked.append(client.url))
    assert asked == [states[chosen].url] == ["http://well"]


def test_an_adapter_that_no_engine_takes_fails_the_run_at_once_with_each_engines_reason():
    states = [EngineState(f"http://e{n}", True, (), ("reviews@1.x",), f"fault {n}") for n in range(2)]
    with pytest.raises(EngineFailed, match=r"take reviews@1: http://e0: fault 0 http://e1: fault 1"):
        holders_of(states).with_engine_serving((CANDIDATE,), lambda _: None)


JOB = Job(
    run_id="run-1",
    base="nowhere",
    snapshot="nowhere",
    output="",
    rank=8,
    epochs=1,
    batch_size=2,
    learning_rate=1e-3,
    max_rows=None,
    max_length=64,
    seed=0,
    threads=1,
    dtype="float32",
)


@pytest.mark.integration
def test_a_trainer_that_dies_says_why_and_where_its_log_is(tmp_path: Path):
    with pytest.raises(TrainingFailed, match="The trainer ended with code 1") as failure:
        Trainer().run(replace(JOB, output=str(tmp_path)), lambda _: None)
    assert "trainer.log" in failure.value.hint


def test_details_of_a_run_add_up(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    add_run(pipeline, "run-a", "evaluating")
    run = Run("run-a", "reviews", "test", "me")
    pipeline.runs.add_details(run, cuts=1)
    pipeline.runs.add_details(run, base_prompt="x")
    assert pipeline.runs.details(run) == {"cuts": 1, "base_prompt": "x"}


def test_a_run_on_equal_rows_is_skipped_before_it_trains(make: Callable[..., RetrainPipeline], settings: Settings):
    pipeline = make()
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    again = pipeline.run("reviews", "test")
    assert state(pipeline, again) == "skipped"
    assert "No row of the snapshot has changed since run run-" in decisions(pipeline)[-1][1]
    changed = settings.models["reviews"].retrain.model_copy(update={"rank": 4})
    models = {"reviews": settings.models["reviews"].model_copy(update={"retrain": changed})}
    pipeline.settings = settings.model_copy(update={"models": models})
    assert state(pipeline, pipeline.run("reviews", "test")) == "finished"
