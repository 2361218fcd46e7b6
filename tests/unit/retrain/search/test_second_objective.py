"""Facts about searches of runs whose training has a second objective."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from retrain import pipeline as retrain_pipeline
from retrain.job_settings import job_of_plan
from retrain.pipeline import RetrainPipeline
from retrain.trainer.job import Job, SecondObjective
from tests.unit.retrain.search.test_search import search, trainer_of  # noqa: F401 — a fixture


def test_a_trial_trains_by_the_first_objective_alone(
    search: Callable[..., RetrainPipeline],  # noqa: F811 — the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    then = SecondObjective(epochs=1.0, learning_rate=1e-4, label_smoothing=0.1, min_rows=8, min_steps=8)

    def with_second(*plan: Any, **places: Any) -> Job:
        return replace(job_of_plan(*plan, **places), then=then)

    monkeypatch.setattr(retrain_pipeline, "job_of_plan", with_second)
    pipeline = search(search={"trials": 3})
    pipeline.run("reviews", "test")
    assert [job.then for job in trainer_of(pipeline).jobs] == [None, None, None, then]
