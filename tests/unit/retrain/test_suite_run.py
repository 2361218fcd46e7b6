"""Facts about measuring: suites of any version, with nothing decided and no holdout asked."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.db import decisions, evaluations, runs
from core.db.store import Store
from core.errors import InputError, NotFound
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import Settings, build
from eval.suites import shipped
from ops import views
from retrain import suite_run
from retrain.pipeline import RetrainPipeline
from retrain.trainer.process import Trainer
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine, FakeEngines
from serve.engines.reconciler import EngineState
from serve.retrieval.retriever import FILE, Entry, Retrieval, sha256_of
from serve.routing.publisher import RoutePublisher

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class OneEngine:
    """A reconciler of one fake engine that holds everything."""

    def __init__(self, engine: FakeEngine) -> None:
        self.clients = (VllmClient("http://engine", transport=engine.transport()),)

    def reconcile(self, wanted: Any, may_unload: Any) -> list[EngineState]:
        return [EngineState("http://engine", True, (), ())]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    evaluation = {"concurrency": 4, "bootstrap": 200, "suites": ["format"]}
    return build({"data": str(tmp_path), "models": {"m": {"labels": ["a", "b"], "evaluation": evaluation}}})


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(adapters={"m@1.x": "/1"}, answer=lambda model, prompt: "42" if model == "m@1.x" else "no")


@pytest.fixture
def pipeline(settings: Settings, engine: FakeEngine, tmp_path: Path) -> Iterator[RetrainPipeline]:
    store = Store(":memory:")
    promotion = RouteManager(
        store=store, board=RoutePublisher(), engines=FakeEngines(), base_name="base", clock=lambda: NOW, settle_s=0.0
    )
    promotion.sync_models(["m"])
    with store.transaction() as transaction:
        promotion.add_version(transaction, Version("m", 1, "m@1.x", "/1", "x", 8, None))
    reconciler: Any = OneEngine(engine)
    steps = RolloutWorkflow(store=store, promotion=promotion, models=settings.models, clock=lambda: NOW)
    yield RetrainPipeline(
        settings=settings,
        store=store,
        base=ModelFolder("base", tmp_path),
        promotion=promotion,
        steps=steps,
        reconciler=reconciler,
        trainer=Trainer(),
        clock=lambda: NOW,
    )
    store.close()


def test_a_version_is_measured_with_base_and_champion_and_nothing_is_decided(pipeline: RetrainPipeline):
    wanted = pipeline.suites.prepare("m", 1, None, "me")
    assert "m@1.x" in {version.engine_name for version in pipeline.promotion.wanted()}
    pipeline.suites.measure(wanted)
    row = runs.find(pipeline.store, id=wanted.run.id) or {}
    assert row["state"] == "measured" and row["finished"] is not None, row["reason"]
    kept = {(r["arm"], r["version"]): r["value"] for r in views.run(pipeline.store, wanted.run.id)["evaluations"]}
    assert kept["candidate", 1] == 0.25 and kept["champion", 0] == 0.0
    assert decisions.chain(pipeline.store) == []
    assert evaluations.holdout_uses(pipeline.store, model="m") == []
    assert runs.unfinished_of(pipeline.store, model="m") is None


def test_a_version_that_retrieves_is_measured_with_its_examples(
    pipeline: RetrainPipeline, engine: FakeEngine, tmp_path: Path
):
    content = Retrieval((Entry("chat", "write a number", "7", 10),), 1, 1024).to_bytes()
    (tmp_path / FILE).write_bytes(content)
    made = Version("m", 2, "m@2.y", str(tmp_path), sha256_of(content), 0, None, "retrieval")
    with pipeline.store.transaction() as transaction:
        pipeline.promotion.add_version(transaction, made)
    wanted = pipeline.suites.prepare("m", 2, None, "me")
    pipeline.suites.measure(wanted)
    assert (runs.find(pipeline.store, id=wanted.run.id) or {})["state"] == "measured"
    asked = [body for path, body in engine.requests if path == "/v1/chat/completions"]
    shown = [body for body in asked if any(m["content"] == "write a number" for m in body["messages"])]
    assert len(shown) == len(asked) / 2  # next to the base model, which is the champion too


def test_feedback_that_came_before_a_measuring_still_starts_a_run(pipeline: RetrainPipeline):
    pipeline.suites.measure(pipeline.suites.prepare("m", None, None, "me"))
    newest = runs.newest(pipeline.store, model="m", limit=1)[0]
    assert (runs.find(pipeline.store, id=newest["id"]) or {})["feedback_until"].year == 1970


def test_suites_are_those_named_or_of_the_settings_or_all(pipeline: RetrainPipeline, settings: Settings):
    model = settings.models["m"]
    assert [one.name for one in suite_run.choose_suites(model, ["refusal", "refusal"])] == ["refusal"]
    assert [one.name for one in suite_run.choose_suites(model, None)] == ["format"]
    bare = model.model_copy(update={"evaluation": model.evaluation.model_copy(update={"suites": []})})
    assert [one.name for one in suite_run.choose_suites(bare, None)] == list(shipped.BUILDERS)
    with pytest.raises(InputError, match="There is no suite '/etc'"):
        suite_run.choose_suites(model, ["/etc"])


def test_what_is_not_there_is_refused_before_a_run_is_written(pipeline: RetrainPipeline):
    with pytest.raises(NotFound, match="There is no version"):
        pipeline.suites.prepare("m", 9, None, "me")
    with pytest.raises(NotFound, match="There is no model"):
        pipeline.suites.prepare("x", None, None, "me")
    assert runs.newest(pipeline.store, model="m", limit=5) == []


def test_an_engine_that_fails_is_the_runs_reason(pipeline: RetrainPipeline, engine: FakeEngine):
    engine.fault = "error"
    wanted = pipeline.suites.prepare("m", 1, ["format"], "me")
    pipeline.suites.measure(wanted)
    row = runs.find(pipeline.store, id=wanted.run.id) or {}
    assert row["state"] == "failed" and "the fake fails as asked" in row["reason"]
