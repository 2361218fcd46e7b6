"""Facts about runs that make a retrieval: when, of what, and that it is promoted and rolled back like any version."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db import decisions, runs, versions
from core.db.store import Store
from core.errors import IntegrityFailed
from core.model_folder import ModelFolder
from core.settings import RetrainSettings, Settings, build
from eval import holdouts
from eval.context import EvaluationTask
from eval.evaluation import Result
from eval.kpis.evidence import Difference, Evidence, Measure
from ops.control import Engines
from retrain.pipeline import RetrainPipeline
from retrain.plan import Plan, choose_plan, require_examples
from rollout.change_writer import DecisionContext
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine
from serve.engines.reconciler import Reconciler
from serve.retrieval.retriever import FILE, read_retrieval
from serve.routing.publisher import RoutePublisher
from tests.support.pipeline import NOW, vote

WHY = DecisionContext("because", "test")


class NoTrainer:
    """Replaces the trainer; a retrieval needs none."""

    def run(self, *_: Any) -> Path:
        raise AssertionError("something was trained")

    def stop(self) -> None:
        pass


def result(*, itself: bool) -> Result:
    arm = {kpi: Measure(0.7, 0.6, 0.8) for kpi in ("accuracy", "macro_f1")}
    gains = {"macro_f1": dict.fromkeys(("champion", "base"), Difference(0.1, 0.05, 0.15, 0.03))}
    arms = dict.fromkeys(("base", "champion", "candidate"), arm)
    return Result(Evidence(100, 30, arms, gains, {}, "h1", 1, candidate_is_rag=itself), {}, "")


def pipelines(tmp_path: Path) -> Iterator[Any]:
    """A function that makes a pipeline of these settings."""

    def evaluated(task: EvaluationTask, **_: Any) -> Result:
        assert (task.candidate.kind, task.candidate.engine_name) == ("retrieval", "base")
        return result(itself=True)

    store = Store(":memory:")
    engine = FakeEngine()
    clients = [VllmClient("http://engine", transport=engine.transport())]
    reconciler = Reconciler(clients, base_name="base", self_check=lambda _: "well")
    reconciler.reconcile(list, lambda _: False)
    promotion = RouteManager(
        store=store, board=RoutePublisher(), engines=reconciler, base_name="base", clock=lambda: NOW, settle_s=0.0
    )
    promotion.sync_models(["reviews"])

    def made(baselines: dict[str, Any] | None = None, **retrain: Any) -> RetrainPipeline:
        settings: Settings = build(
            {
                "data": str(tmp_path),
                "models": {
                    "reviews": {
                        "labels": ["a", "b"],
                        "retrain": {"schedule": None, "min_labels": 1000, "min_examples": 8} | retrain,
                        "promotion": {
                            "canary": None,
                            "holdback": None,
                            "limits": {"window_hours": 0, "cooldown_hours": 0},
                        },
                        "baselines": baselines or {},
                    }
                },
            }
        )
        trainer: Any = NoTrainer()
        return RetrainPipeline(
            settings=settings,
            store=store,
            base=ModelFolder("base", tmp_path),
            promotion=promotion,
            steps=RolloutWorkflow(store=store, promotion=promotion, models=settings.models, clock=lambda: NOW),
            reconciler=reconciler,
            trainer=trainer,
            clock=lambda: NOW,
            evaluate=evaluated,
            find_shortage=lambda *_: None,  # evaluations use no holdout here, so that a few votes are enough
        )

    yield made
    store.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    yield from pipelines(tmp_path)


def newest(pipeline: RetrainPipeline, verdict: str) -> dict[str, Any]:
    rows = [row for row in decisions.chain(pipeline.store) if row["verdict"] == verdict]
    assert rows, [(row["verdict"], row["reason"]) for row in decisions.chain(pipeline.store)]
    return dict(json.loads(rows[-1]["body"]))


def test_too_few_labels_make_a_retrieval_only_where_it_is_set():
    few = {"a": 5, "b": 4}
    assert choose_plan(few, RetrainSettings(min_labels=20)).objective is None
    found = choose_plan(few, RetrainSettings(min_labels=20, fallback="rag"))
    assert found == Plan("rag", "The train split has 9 labels; retrain.min_labels requires 20.")
    assert choose_plan({"a": 30, "b": 9}, RetrainSettings(min_labels=20, fallback="rag")).objective == "sft"
    assert choose_plan({"a": 30, "b": 9}, RetrainSettings(min_labels=20, objective="rag")).objective == "rag"


def test_a_retrieval_needs_a_minimum_number_of_examples_too():
    assert require_examples(20, Plan("rag", "Why."), RetrainSettings()).objective == "rag"
    refused = require_examples(19, Plan("rag", "Why."), RetrainSettings())
    assert refused.objective is None
    assert refused.reason == "Why. A retrieval would have 19 examples; retrain.min_examples requires 20."


@pytest.mark.parametrize("retrain", [{"fallback": "rag"}, {"objective": "rag", "min_labels": 8}])
def test_a_retrieval_is_promoted_with_its_lineage_and_rolled_back(
    make: Callable[..., RetrainPipeline], retrain: dict[str, Any]
):
    pipeline = make(**retrain)
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    body = newest(pipeline, "promoted")
    version = pipeline.promotion.version("reviews", 1)
    assert (version.kind, version.engine_name, version.rank, version.run_id) == ("retrieval", "base", 0, run)
    entries = read_retrieval(version).entries
    assert len(entries) > 20 and {entry.answer for entry in entries} == {"a", "b"}
    lineage = body["lineage"]
    assert lineage["retrieval_sha256"] == version.sha256 and len(lineage["snapshot"]) == 64
    assert lineage["retrieval"]["k"] == 4 and lineage["retrieval"]["entries"] == {"chat": len(entries)}
    assert "training" not in lineage and "adapter_sha256" not in lineage and lineage["cost"]["training_s"] is None
    assert "The candidate is the retrieval arm" in body["reason"]
    table = pipeline.promotion.board.table
    assert table and table.models["reviews"].champion.retrieval == version.sha256 and table.retrievals()
    pipeline.promotion.roll_back("reviews", None, WHY)
    assert pipeline.promotion.route("reviews").champion == 0
    assert newest(pipeline, "rolled_back")["live"]["quarantine"]["id"] is None  # no vote spoke against it
    kinds = [row["kind"] for row in versions.of_model(pipeline.store, model="reviews")]
    assert kinds == ["base", "retrieval"]


def test_engines_load_nothing_for_it_and_unload_nothing(make: Callable[..., RetrainPipeline]):
    pipeline = make(fallback="rag")
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    reconciler: Any = pipeline.promotion.engines
    look = Engines(reconciler, pipeline.promotion, pipeline.promotion.board)
    look.look()
    assert [(state.ready, state.adapters) for state in look.states] == [(True, ())]


def test_the_same_examples_are_not_judged_twice_and_new_ones_are(make: Callable[..., RetrainPipeline]):
    pipeline = make(fallback="rag")
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    pipeline.run("reviews", "test")
    assert newest(pipeline, "skipped")["reason"].startswith("reviews@1 has the same ")
    vote(pipeline.store, 30, "more")
    pipeline.run("reviews", "test")
    assert pipeline.promotion.route("reviews").champion == 2


def test_where_no_holdout_can_judge_it_yet_it_is_made_once_for_a_person_to_promote(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    pipeline = make(fallback="rag")
    monkeypatch.setattr(pipeline, "find_shortage", holdouts.shortage_reason)
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    body = newest(pipeline, "inconclusive")
    assert body["reason"].startswith("reviews@1 waits for a person to promote it: No holdout can judge")
    assert body["lineage"]["retrieval"]["k"] == 4
    row = runs.find(pipeline.store, id=run)
    assert row and row["state"] == "finished" and pipeline.promotion.route("reviews").champion == 0
    pipeline.run("reviews", "test")
    assert "has the same" in newest(pipeline, "skipped")["reason"]
    pipeline.steps.promote_by_hand("reviews", 1, "ada", "better than nothing")
    assert pipeline.promotion.route("reviews").champion == 1


def test_without_enough_examples_the_run_is_skipped(make: Callable[..., RetrainPipeline]):
    pipeline = make(fallback="rag", min_examples=100)
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    assert "retrain.min_examples requires 100" in newest(pipeline, "skipped")["reason"]
    row = runs.find(pipeline.store, id=run)
    assert row and row["state"] == "skipped"


def test_documents_need_no_examples_and_a_missing_folder_fails_the_run_with_the_fix(
    make: Callable[..., RetrainPipeline], tmp_path: Path
):
    docs = tmp_path / "docs"
    pipeline = make({"documents": str(docs)}, objective="rag", min_examples=100)
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    assert newest(pipeline, "failed")["reason"].startswith("baselines.documents: there is no folder")
    docs.mkdir()
    (docs / "a.md").write_text("Lamps want bulbs.")
    pipeline.run("reviews", "test")
    assert newest(pipeline, "promoted")["lineage"]["retrieval"]["entries"] == {"passage": 1}


def test_a_run_cut_short_goes_on_with_the_retrieval_that_it_made(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> Result:
        raise Killed

    pipeline = make(fallback="rag")
    vote(pipeline.store, 60)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "evaluate", killed)
        with pytest.raises(Killed):
            pipeline.run("reviews", "test")
    for left in pipeline.recover():
        pipeline.resume(left)
    assert pipeline.promotion.route("reviews").champion == 1
    assert newest(pipeline, "promoted")["lineage"]["retrieval"]["entries"]["chat"] > 20


def test_what_is_not_on_disk_any_more_never_comes_into_service(make: Callable[..., RetrainPipeline]):
    pipeline = make(fallback="rag")
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    pipeline.promotion.roll_back("reviews", 0, WHY)
    (Path(str(pipeline.promotion.version("reviews", 1).path)) / FILE).unlink()
    with pytest.raises(IntegrityFailed, match="is gone"):
        pipeline.promotion.promote("reviews", 1, WHY)
    pipeline.promotion.publish()
    table = pipeline.promotion.board.table
    assert table and table.retrievals() == set() and pipeline.promotion.route("reviews").champion == 0
