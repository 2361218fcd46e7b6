"""Facts about runs that make a retrieval: when, of what, and that it is promoted and rolled back like any version."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.db import decisions, runs, versions
from core.db.store import Store
from core.errors import NotReady
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import RetrainSettings, Settings, build
from eval import holdouts
from eval.evaluate import Result
from eval.kpis.evidence import Difference, Evidence, Measure
from ops.control import Engines
from retrain import pipeline as cycles
from retrain.objective import Objective, choose_objective, enough_to_show
from retrain.pipeline import RetrainPipeline
from rollout import routes as promotions
from rollout.routes import DecisionContext, RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.fake import FakeEngine
from serve.engines.reconciler import Reconciler
from serve.engines.vllm_client import VllmClient
from serve.retrieval.retriever import FILE, read_retrieval
from serve.routing.publisher import RoutePublisher
from tests.unit.retrain.test_pipeline import NOW, vote

WHY = DecisionContext("because", "test")


class NoTrainer:
    """Stands where the trainer does; a retrieval needs none."""

    def run(self, *_: Any) -> Path:
        raise AssertionError("something was trained")

    def stop(self) -> None:
        pass


def result(*, itself: bool) -> Result:
    arm = {kpi: Measure(0.7, 0.6, 0.8) for kpi in ("accuracy", "macro_f1")}
    gains = {"macro_f1": dict.fromkeys(("champion", "base"), Difference(0.1, 0.05, 0.15, 0.03))}
    arms = dict.fromkeys(("base", "champion", "candidate"), arm)
    return Result(Evidence(100, 30, arms, gains, {}, "h1", 1, candidate_is_rag=itself), {}, "")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(promotions, "SETTLE_SECONDS", 0.0)

    def evaluated(*_: Any, candidate: Version, **__: Any) -> Result:
        assert (candidate.kind, candidate.engine_name) == ("retrieval", "base")
        return result(itself=True)

    monkeypatch.setattr(cycles, "evaluate", evaluated)
    # Evaluations are planned here and ask no holdout, so that a few votes are enough.
    monkeypatch.setattr(cycles, "shortage_reason", lambda *_: None)
    store = Store(":memory:")
    engine = FakeEngine()
    clients = [VllmClient("http://engine", transport=engine.transport())]
    reconciler = Reconciler(clients, base_name="base", self_check=lambda _: "well")
    reconciler.reconcile(list, lambda _: False)
    promotion = RouteManager(
        store=store, board=RoutePublisher(), engines=reconciler, base_name="base", clock=lambda: NOW
    )
    promotion.adopt(["reviews"])

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
        )

    yield made
    store.close()


def newest(cycle: RetrainPipeline, verdict: str) -> dict[str, Any]:
    rows = [row for row in decisions.chain(cycle.store) if row["verdict"] == verdict]
    assert rows, [(row["verdict"], row["reason"]) for row in decisions.chain(cycle.store)]
    return dict(json.loads(rows[-1]["body"]))


def test_too_few_labels_make_a_retrieval_only_where_it_is_set():
    few = {"a": 5, "b": 4}
    assert choose_objective(few, RetrainSettings(min_labels=20)).name is None
    found = choose_objective(few, RetrainSettings(min_labels=20, fallback="rag"))
    assert found == Objective("rag", "9 labels in the train split; retrain.min_labels wants 20.")
    assert choose_objective({"a": 30, "b": 9}, RetrainSettings(min_labels=20, fallback="rag")).name == "sft"
    assert choose_objective({"a": 30, "b": 9}, RetrainSettings(min_labels=20, objective="rag")).name == "rag"


def test_a_retrieval_wants_a_least_number_of_examples_too():
    assert enough_to_show(20, Objective("rag", "Why."), RetrainSettings()).name == "rag"
    refused = enough_to_show(19, Objective("rag", "Why."), RetrainSettings())
    assert refused.name is None
    assert refused.reason == "Why. A retrieval would have 19 examples to show; retrain.min_examples wants 20."


@pytest.mark.parametrize("retrain", [{"fallback": "rag"}, {"objective": "rag", "min_labels": 8}])
def test_a_retrieval_is_promoted_with_its_lineage_and_rolled_back(
    make: Callable[..., RetrainPipeline], retrain: dict[str, Any]
):
    cycle = make(**retrain)
    vote(cycle.store, 60)
    run = cycle.run("reviews", "test")
    body = newest(cycle, "promoted")
    version = cycle.promotion.version("reviews", 1)
    assert (version.kind, version.engine_name, version.rank, version.run_id) == ("retrieval", "base", 0, run)
    entries = read_retrieval(version).entries
    assert len(entries) > 20 and {entry.answer for entry in entries} == {"a", "b"}
    lineage = body["lineage"]
    assert lineage["retrieval_sha256"] == version.sha256 and len(lineage["snapshot"]) == 64
    assert lineage["retrieval"]["k"] == 4 and lineage["retrieval"]["entries"] == {"chat": len(entries)}
    assert "training" not in lineage and "adapter_sha256" not in lineage and lineage["cost"]["training_s"] is None
    assert "the candidate is the RAG arm itself" in body["reason"]
    table = cycle.promotion.board.table
    assert table and table.models["reviews"].champion.retrieval == version.sha256 and table.retrievals()
    cycle.promotion.roll_back("reviews", None, WHY)
    assert cycle.promotion.route("reviews").champion == 0
    assert newest(cycle, "rolled_back")["live"]["quarantine"]["votes"] == 60
    kinds = [row["kind"] for row in versions.of_model(cycle.store, model="reviews")]
    assert kinds == ["base", "retrieval"]


def test_engines_are_asked_to_load_nothing_for_it_and_unload_nothing(make: Callable[..., RetrainPipeline]):
    cycle = make(fallback="rag")
    vote(cycle.store, 60)
    cycle.run("reviews", "test")
    reconciler: Any = cycle.promotion.engines
    look = Engines(reconciler, cycle.promotion, cycle.promotion.board)
    look.look()
    assert [(state.ready, state.adapters) for state in look.states] == [(True, ())]


def test_the_same_examples_are_not_judged_twice_and_new_ones_are(make: Callable[..., RetrainPipeline]):
    cycle = make(fallback="rag")
    vote(cycle.store, 60)
    cycle.run("reviews", "test")
    cycle.run("reviews", "test")
    assert newest(cycle, "skipped")["reason"].startswith("reviews@1 shows the same ")
    vote(cycle.store, 30, "more")
    cycle.run("reviews", "test")
    assert cycle.promotion.route("reviews").champion == 2


def test_where_no_holdout_can_judge_it_yet_it_is_made_once_for_a_person_to_promote(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    cycle = make(fallback="rag")
    monkeypatch.setattr(cycles, "shortage_reason", holdouts.shortage_reason)
    vote(cycle.store, 60)
    run = cycle.run("reviews", "test")
    body = newest(cycle, "inconclusive")
    assert body["reason"].startswith("reviews@1 waits for a person to promote it: No holdout can judge")
    assert body["lineage"]["retrieval"]["k"] == 4
    row = runs.find(cycle.store, id=run)
    assert row and row["state"] == "finished" and cycle.promotion.route("reviews").champion == 0
    cycle.run("reviews", "test")
    assert "shows the same" in newest(cycle, "skipped")["reason"]
    cycle.steps.promote_by_hand("reviews", 1, "ada", "better than nothing")
    assert cycle.promotion.route("reviews").champion == 1


def test_without_enough_examples_the_run_is_skipped(make: Callable[..., RetrainPipeline]):
    cycle = make(fallback="rag", min_examples=100)
    vote(cycle.store, 60)
    run = cycle.run("reviews", "test")
    assert "retrain.min_examples wants 100" in newest(cycle, "skipped")["reason"]
    row = runs.find(cycle.store, id=run)
    assert row and row["state"] == "skipped"


def test_documents_need_no_examples_and_a_missing_folder_fails_the_run_with_the_fix(
    make: Callable[..., RetrainPipeline], tmp_path: Path
):
    docs = tmp_path / "docs"
    cycle = make({"documents": str(docs)}, objective="rag", min_examples=100)
    vote(cycle.store, 60)
    cycle.run("reviews", "test")
    assert newest(cycle, "failed")["reason"].startswith("baselines.documents: there is no folder")
    docs.mkdir()
    (docs / "a.md").write_text("Lamps want bulbs.")
    cycle.run("reviews", "test")
    assert newest(cycle, "promoted")["lineage"]["retrieval"]["entries"] == {"passage": 1}


def test_a_run_cut_short_goes_on_with_the_retrieval_that_it_made(
    make: Callable[..., RetrainPipeline], monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> Result:
        raise Killed

    cycle = make(fallback="rag")
    vote(cycle.store, 60)
    with monkeypatch.context() as patch:
        patch.setattr(cycles, "evaluate", killed)
        with pytest.raises(Killed):
            cycle.run("reviews", "test")
    for left in cycle.recover():
        cycle.go_on(left)
    assert cycle.promotion.route("reviews").champion == 1
    assert newest(cycle, "promoted")["lineage"]["retrieval"]["entries"]["chat"] > 20


def test_what_is_not_on_disk_any_more_never_comes_into_service(make: Callable[..., RetrainPipeline]):
    cycle = make(fallback="rag")
    vote(cycle.store, 60)
    cycle.run("reviews", "test")
    cycle.promotion.roll_back("reviews", 0, WHY)
    (Path(str(cycle.promotion.version("reviews", 1).path)) / FILE).unlink()
    with pytest.raises(NotReady, match="is gone"):
        cycle.promotion.promote("reviews", 1, WHY)
    cycle.promotion.publish()
    table = cycle.promotion.board.table
    assert table and table.retrievals() == set() and cycle.promotion.route("reviews").champion == 0
