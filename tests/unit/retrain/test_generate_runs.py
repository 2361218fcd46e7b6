"""Facts about a whole pipeline of a model that generates: from corrections to a promotion, before the fake engine."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import decisions
from core.db.store import Store
from core.model_folder import ModelFolder
from core.record_codec import encode
from core.records import Feedback
from core.settings import Settings, build
from core.spool import frame
from feedback.ingest import ingest
from feedback.snapshot import read_rows
from ops import views
from retrain.pipeline import RetrainPipeline
from retrain.trainer.job import Job, Step
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.adapters.preflight import Adapter
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine, FakeEngines
from serve.engines.reconciler import EngineState
from serve.routing.publisher import RoutePublisher
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class RecordingTrainer:
    """Replaces the trainer's process: it keeps the texts that it was to learn and leaves a folder."""

    def __init__(self) -> None:
        self.learnt: dict[str, str] = {}
        self.job: Job | None = None

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        self.job = job
        rows = [row for row in read_rows(Path(job.snapshot)) if row.bucket == "train"]
        self.learnt = {row.interaction_id: row.label for row in rows}
        progress(Step(1, 1, {"loss": 0.1, "seconds": 2.0}))
        folder = Path(job.output) / "adapter"
        folder.mkdir(parents=True)
        return folder

    def stop(self) -> None:
        pass


class OneEngine:
    """A reconciler of one fake engine that holds everything."""

    def __init__(self, engine: FakeEngine) -> None:
        self.clients = (VllmClient("http://engine", transport=engine.transport()),)

    def reconcile(self, wanted: Any, may_unload: Any) -> list[EngineState]:
        return [EngineState("http://engine", True, (), ())]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = {
        "task": "generate",
        "split": {"train": 0.4, "dev": 0.04},
        "retrain": {"schedule": None, "min_labels": 20},
        "evaluation": {"bootstrap": 500, "latency_items": 1, "max_tokens": 8, "concurrency": 4},
        "promotion": {"canary": None, "must_beat": ["base"]},
    }
    return build({"data": str(tmp_path / "data"), "models": {"replies": model}})


def corrected(store: Store, count: int) -> None:
    data = b""
    for n in range(count):
        asked = interaction(
            f"c{n}",
            time=NOW,
            model="replies",
            user=f"u{n}",
            answer="rubbish",
            request={"messages": [{"role": "user", "content": f"text {n}"}]},
        )
        better = Feedback(f"f{n}", NOW + timedelta(seconds=n), asked.id, None, "correction", f"Dear text {n}!")
        data += frame(encode(asked)) + frame(encode(better))
    ingest(store, "g", 1, 0, data)


def preferred(store: Store, count: int, gateway: str = "g") -> None:
    """Users who saw a kind and a dull answer to their question and preferred the kind one."""
    data = b""
    for n in range(count):
        request = {"messages": [{"role": "user", "content": f"question {n}"}]}
        for side in ("kind", "dull"):
            answer = f"{side} words"
            asked = interaction(f"{side}{n}", time=NOW, model="replies", user=f"u{n}", answer=answer, request=request)
            data += frame(encode(asked))
        value = {"chosen": f"kind{n}", "rejected": f"dull{n}"}
        data += frame(encode(Feedback(f"{gateway}f{n}", NOW + timedelta(seconds=n), None, None, "preference", value)))
    ingest(store, gateway, 1, 0, data)


def pipeline_of(
    settings: Settings, tmp_path: Path, store: Store, engine: FakeEngine, trainer: Any
) -> tuple[RetrainPipeline, RouteManager]:
    promotion = RouteManager(
        store=store, board=RoutePublisher(), engines=FakeEngines(), base_name="base", clock=lambda: NOW, settle_s=0.0
    )
    promotion.sync_models(["replies"])
    reconciler: Any = OneEngine(engine)
    pipeline = RetrainPipeline(
        settings=settings,
        store=store,
        base=ModelFolder("base", tmp_path),
        promotion=promotion,
        steps=RolloutWorkflow(store=store, promotion=promotion, models=settings.models, clock=lambda: NOW),
        reconciler=reconciler,
        trainer=trainer,
        clock=lambda: NOW,
        check_adapter=lambda trained, **_: Adapter(trained, "x", 8, 1, 8.0, ()),
    )
    return pipeline, promotion


@pytest.mark.parametrize(("liked", "verdict", "champion"), [(-0.7, "promoted", 1), (-1.3, "kept", 0)])
def test_preferences_become_an_adapter_that_serves_only_if_it_prefers_as_other_users_do(
    settings: Settings, tmp_path: Path, liked: float, verdict: str, champion: int
):
    engine = FakeEngine(adapters={"replies@1.x": "/1"})
    # The base model finds both alike; the adapter finds kind words likelier, or less likely.
    engine.likes = lambda model, word: liked if "@" in model and word == "kind" else -1.0
    store, trainer = Store(":memory:"), RecordingTrainer()
    replies = settings.models["replies"]
    retrain = replies.retrain.model_copy(update={"min_pairs": 100})
    settings = settings.model_copy(update={"models": {"replies": replies.model_copy(update={"retrain": retrain})}})
    pipeline, promotion = pipeline_of(settings, tmp_path, store, engine, trainer)
    preferred(store, 300)
    pipeline.run("replies", "test")
    row = decisions.chain(store)[0]
    assert row["verdict"] == verdict, row["reason"]
    assert promotion.route("replies").champion == champion
    assert trainer.job is not None
    assert (trainer.job.objective, trainer.job.min_rows, trainer.job.label_smoothing) == ("dpo", 100, 0.1)
    body = json.loads(row["body"])
    assert body["evidence"]["primary"] == "preference_margin"
    assert body["evidence"]["arms"]["base"]["preference_margin"]["value"] == 0.5
    assert body["lineage"]["pairs"]["by_signal"] == {"preference": {"rows": 300, "users": 300}}
    assert body["lineage"]["training"]["because"].startswith("The train split has ")
    assert body["lineage"]["training"]["because"].endswith(" pairs.")
    store.close()


def test_corrections_and_preferences_train_one_adapter_in_two_objectives(settings: Settings, tmp_path: Path):
    engine = FakeEngine(adapters={"replies@1.x": "/1"})
    engine.answer = lambda model, prompt: ("Dear {}" if "@" in model else "Dear {} rubbish").format(prompt)
    engine.likes = lambda model, word: -0.7 if "@" in model and word == "kind" else -1.0
    store, trainer = Store(":memory:"), RecordingTrainer()
    replies = settings.models["replies"]
    retrain = replies.retrain.model_copy(update={"min_pairs": 100})
    settings = settings.model_copy(update={"models": {"replies": replies.model_copy(update={"retrain": retrain})}})
    pipeline, promotion = pipeline_of(settings, tmp_path, store, engine, trainer)
    corrected(store, 300)
    preferred(store, 300, gateway="h")
    run = pipeline.run("replies", "test")
    row = decisions.chain(store)[0]
    assert (row["verdict"], promotion.route("replies").champion) == ("promoted", 1), row["reason"]
    assert trainer.job and trainer.job.then
    assert [one.objective for one in trainer.job.in_order] == ["sft", "dpo"]
    body = json.loads(row["body"])
    # Likeness to corrections decides, as after SFT alone. What the second objective trains is measured too.
    assert body["evidence"]["primary"] == "token_f1"
    assert body["evidence"]["suites"]["preference_margin"]["arms"]["candidate"]["value"] == 1.0
    training = body["lineage"]["training"]
    assert training["then"]["objective"] == "dpo" and training["then"]["min_rows"] == 100
    assert "DPO follows SFT on " in training["because"]
    found = views.run(store, run)["detail"]["estimate"]
    assert " of SFT and " in found["text"] and found["steps"] > 0
    store.close()


@pytest.mark.parametrize(("adapter_says", "verdict", "champion"), [("Dear {}", "promoted", 1), ("Hm {}", "kept", 0)])
def test_corrections_become_an_adapter_that_serves_only_if_it_answers_as_users_would(
    settings: Settings, tmp_path: Path, adapter_says: str, verdict: str, champion: int
):
    engine = FakeEngine(adapters={"replies@1.x": "/1"})
    engine.answer = lambda model, prompt: (adapter_says if "@" in model else "Dear {} rubbish").format(prompt)
    store = Store(":memory:")
    trainer = RecordingTrainer()
    pipeline, promotion = pipeline_of(settings, tmp_path, store, engine, trainer)
    corrected(store, 300)
    pipeline.run("replies", "test")
    row = decisions.chain(store)[0]
    assert row["verdict"] == verdict, row["reason"]
    assert promotion.route("replies").champion == champion
    assert len(trainer.learnt) > 100 and set(trainer.learnt.values()) <= {f"Dear text {n}!" for n in range(300)}
    evidence = json.loads(row["body"])["evidence"]
    assert evidence["primary"] == "token_f1" and evidence["labels"] == []
    assert evidence["worth"]["reason"]
    store.close()
