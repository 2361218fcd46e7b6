"""A retraining pipeline with stub training, for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.db.store import Store
from core.model_folder import ModelFolder
from core.settings import Settings, build
from retrain.pipeline import RetrainPipeline
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.fake import FakeEngines
from serve.routing.publisher import RoutePublisher
from tests.support.pipeline import NOW, StubReconciler, StubTrainer, checked, result


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
