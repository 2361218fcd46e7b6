"""Facts about cycles: when they start, what they refuse, and what the ledger learns of each end."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.db import decisions as decisions_table
from core.db import live_tests
from core.db import runs as runs_table
from core.db.store import Store, Transaction
from core.errors import Conflict, EngineDown, EngineFailed, RunInProgress, SettingsError, TrainingFailed
from core.model_folder import ModelFolder
from core.prompts import Text
from core.record_codec import encode
from core.records import Feedback, Interaction, Version
from core.settings import JudgeSettings, RetrainSettings, Settings, build, settings_sha256
from core.spool import frame
from eval import holdouts
from eval.evaluate import Result
from eval.kpis.evidence import Difference, Evidence, Measure
from feedback.ingest import ingest
from ops.actions import Actions, By
from retrain.pipeline import RetrainPipeline
from retrain.plan import choose_plan, reason_to_start
from retrain.runs import Run
from retrain.scheduler import Scheduler
from retrain.trainer.job import Job, Step
from retrain.trainer.process import Trainer
from rollout.routes import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.adapters.preflight import Adapter
from serve.engines import lease
from serve.engines.fake import FakeEngines
from serve.engines.lease import EngineLease
from serve.engines.reconciler import EngineState
from serve.routing.publisher import RoutePublisher

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_enough_new_feedback_starts_a_run_and_says_so():
    settings = RetrainSettings(min_new_feedback=5)
    assert reason_to_start(4, None, settings) is None
    assert reason_to_start(5, None, settings) == "Triggered by 5 new feedback rows (threshold 5)"


def test_a_model_has_one_run_at_a_time():
    assert reason_to_start(10_000, "run-1", RetrainSettings(min_new_feedback=5)) is None


def test_too_few_labels_are_refused_with_what_is_missing():
    found = choose_plan({"a": 10, "b": 9}, RetrainSettings(min_labels=20))
    assert found.objective is None
    assert found.reason == "The train split has 19 labels; retrain.min_labels requires 20."


def test_labels_of_one_kind_train_no_classifier():
    assert choose_plan({"a": 500, "b": 0}, RetrainSettings(min_labels=20)).objective is None


def test_corrections_need_no_two_kinds():
    found = choose_plan({"any text": 20}, RetrainSettings(min_labels=20), "correction")
    assert (found.objective, found.reason) == ("sft", "The train split has 20 corrections.")
    assert choose_plan({"any text": 19}, RetrainSettings(min_labels=20), "correction").objective is None


def test_a_step_survives_its_line_and_other_lines_are_none():
    step = Step(3, 10, {"loss": 0.5})
    assert Step.parse(step.line()) == step
    assert Step.parse("{'loss': 0.5}") is None


class StubTrainer:
    """Stands where the trainer's process does and leaves a folder, or fails."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        progress(Step(1, 1, {"loss": 0.1}))
        if self.fails:
            raise TrainingFailed(self.fails)
        folder = Path(job.output) / "adapter"
        folder.mkdir(parents=True)
        return folder

    def stop(self) -> None:
        pass


class StubReconciler:
    """Every engine holds everything."""

    clients = (None,)

    def reconcile(self, wanted: Any, may_unload: Any) -> list[EngineState]:
        return [EngineState("http://engine", True, (), ())]


def checked(trained: Path, **_: Any) -> Adapter:
    """The empty folder of `StubTrainer` as if it had passed preflight."""
    return Adapter(trained, "x", 8, 1, 8.0, ())


def result(gain: float) -> Result:
    arm = {kpi: Measure(0.7, 0.6, 0.8) for kpi in ("accuracy", "macro_f1")}
    difference = Difference(gain, gain - 0.02, gain + 0.02, 0.03)
    differences = {"macro_f1": dict.fromkeys(("champion", "base", "rag"), difference)}
    arms = dict.fromkeys(("base", "rag", "champion", "candidate"), arm)
    return Result(Evidence(100, 30, arms, differences, {}, "h1", 1), {}, "")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return build(
        {
            "data": str(tmp_path),
            "models": {
                "reviews": {
                    "labels": ["a", "b"],
                    "retrain": {"schedule": None, "min_labels": 8, "min_new_feedback": 10},
                    "promotion": {"canary": None},
                }
            },
        }
    )


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RetrainPipeline]:
    store = Store(":memory:")
    promotion = RouteManager(
        store=store, board=RoutePublisher(), engines=FakeEngines(), base_name="base", clock=lambda: NOW, settle_s=0.0
    )
    promotion.sync_models(["reviews"])

    def made(trainer: Any = None, gain: float = 0.1, changed: Settings = settings) -> RetrainPipeline:
        reconciler: Any = StubReconciler()
        return RetrainPipeline(
            settings=changed,
            store=store,
            base=ModelFolder("base", Path("base")),
            promotion=promotion,
            steps=RolloutWorkflow(store=store, promotion=promotion, models=changed.models, clock=lambda: NOW),
            reconciler=reconciler,
            trainer=trainer or StubTrainer(),
            clock=lambda: NOW,
            evaluate=lambda *_, **__: result(gain),
            check_adapter=checked,
            find_shortage=lambda *_: None,  # the tests' evaluations use no holdout, so that a few votes are enough
        )

    return made


def vote(store: Store, n: int, spool: str = "g") -> None:
    data = b""
    for i in range(n):
        asked = Interaction(
            id=f"{spool}-c{i}",
            time=NOW,
            model="reviews",
            version=0,
            arm="champion",
            share=0.0,
            bucket=0.5,
            user=f"{spool}-u{i}",
            conversation=None,
            endpoint="chat",
            answer="a",
            finish_reason="stop",
            status=200,
            request={"messages": [{"role": "user", "content": f"text {spool} {i}"}]},
            latency_ms=1,
            ttft_ms=None,
            prompt_tokens=1,
            completion_tokens=1,
            streamed=False,
        )
        label = Feedback(f"{spool}-f{i}", NOW + timedelta(seconds=i), asked.id, None, "label", "ab"[i % 2])
        data += frame(encode(asked)) + frame(encode(label))
    ingest(store, spool, 1, 0, data)


def decisions(pipeline: RetrainPipeline) -> list[tuple[str, str]]:
    return [(row["verdict"], row["reason"]) for row in decisions_table.chain(pipeline.store)]


def state(pipeline: RetrainPipeline, run: str) -> str:
    row = runs_table.find(pipeline.store, id=run)
    assert row is not None
    return str(row["state"])


def test_a_winner_is_promoted_with_its_lineage(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    assert state(pipeline, run) == "finished"
    assert pipeline.promotion.route("reviews").champion == 1
    sealed = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert sealed["lineage"]["training"]["seed"] == 0
    assert sealed["lineage"]["config_sha256"] == settings_sha256(pipeline.settings.models["reviews"])
    assert sum(sealed["lineage"]["rows"].values()) == 60
    assert sealed["evidence"]["gate"][0]["outcome"] == "pass"


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


def test_a_run_cut_short_in_its_evaluation_goes_on_and_trains_nothing_anew(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 60)
    run = cut_short(pipeline)
    assert state(pipeline, run) == "evaluating"
    pipeline.trainer = StubTrainer("must not train again")  # type: ignore[assignment]
    (left,) = pipeline.recover()
    pipeline.resume(left)
    assert (left.id, state(pipeline, run)) == (run, "finished")
    assert pipeline.promotion.route("reviews").champion == 1
    sealed = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert sealed["trigger"] == "test" and sum(sealed["lineage"]["rows"].values()) == 60


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


def test_the_scheduler_starts_a_run_by_itself_and_only_once(make: Callable[..., RetrainPipeline], settings: Settings):
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
    assert [run["trigger"] for run in runs] == ["Triggered by 60 new feedback rows (threshold 10)"]


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
    asked_all, run, measure = threading.Event(), pipeline.run, pipeline.suites.measure
    monkeypatch.setattr(pipeline, "run", lambda *about: (asked_all.wait(20), run(*about))[1])
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


@pytest.mark.parametrize("point", ["runs.add", "record_decision"])
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


def test_who_asked_for_a_run_and_why_stands_in_the_ledger_after_a_restart_too(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    vote(pipeline.store, 60)
    run = cut_short(pipeline, "key:ada", "for the demo")
    (left,) = pipeline.recover()
    pipeline.resume(left)
    sealed = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert (sealed["run_id"], sealed["verdict"]) == (run, "promoted")
    assert (sealed["actor"], sealed["comment"]) == ("key:ada", "for the demo")
    row = runs_table.find(pipeline.store, id=run) or {}
    assert (row["actor"], row["comment"]) == ("key:ada", "for the demo")


def test_a_run_that_a_restart_fails_names_who_asked_for_it(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    pipeline.runs.add(Run("run-a", "reviews", "asked for", "key:ada", "for the demo"), "training", NOW)
    pipeline.recover()
    sealed = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert (sealed["trigger"], sealed["actor"], sealed["comment"]) == ("restart", "key:ada", "for the demo")


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


def add_run(pipeline: RetrainPipeline, identity: str, at: str) -> None:
    """A run of `reviews` in this state."""
    runs_table.add(
        pipeline.store, id=identity, model="reviews", trigger="test", state=at, started=NOW, feedback_until=NOW
    )


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


def test_details_of_a_run_add_up(make: Callable[..., RetrainPipeline]):
    pipeline = make()
    add_run(pipeline, "run-a", "evaluating")
    run = Run("run-a", "reviews", "test", "me")
    pipeline.runs.add_details(run, cuts=1)
    pipeline.runs.add_details(run, base_prompt="x")
    assert pipeline.runs.details(run) == {"cuts": 1, "base_prompt": "x"}
