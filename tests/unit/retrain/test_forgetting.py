"""Facts about forgetting as evidence: what the trainer measured is a suite, and a guardrail may limit it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.db import versions
from core.settings import Guardrail, Settings, build
from ops.cli import reports, runs
from retrain.judgement import judge
from retrain.lineage import training_of
from retrain.pipeline import RetrainPipeline
from retrain.plan import Plan
from retrain.runs import Run
from retrain.step_results import Evidence
from retrain.trainer.job import REPORT, Job, Report, Step
from tests.support.pipeline import StubTrainer, decisions, result, state, vote

MEASURED = {"value": 0.3, "low": 0.2, "high": 0.45, "prompts": 36, "tokens": 700}


class MeasuringTrainer(StubTrainer):
    """A trainer that also reports what it measured."""

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        folder = super().run(job, progress)
        Report(10, {}, True, forgetting=MEASURED).write(Path(job.output) / REPORT)
        return folder


def limited(settings: Settings, limit: float) -> Settings:
    values = settings.model_dump(mode="json", exclude_unset=True)
    del values["keys"]
    values["models"]["reviews"]["promotion"]["guardrails"] = [{"kpi": "forgetting", "max": limit}]
    return build(values)


@pytest.mark.parametrize(
    ("limit", "outcome", "verdict"),
    [(0.45, "pass", "promoted"), (0.4, "inconclusive", "inconclusive"), (0.1, "fail", "kept")],
)
def test_a_guardrail_limits_the_forgetting_of_a_candidate(
    make: Callable[..., RetrainPipeline], settings: Settings, limit: float, outcome: str, verdict: str
):
    pipeline = make(MeasuringTrainer(), changed=limited(settings, limit))
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    (decision,) = [row for row in decisions(pipeline) if row[0] != "switched"]
    assert decision[0] == verdict
    assert ("forgetting is 0.300, upper bound 0.450; at most" in decision[1]) is (outcome != "pass")
    kept = pipeline.runs.details(Run(run, "reviews", "test", "x"))
    assert kept["forgetting"] == MEASURED
    assert [row["forgetting"] for row in versions.of_model(pipeline.store, model="reviews")] == [None, 0.3]


def test_a_run_whose_folder_is_gone_has_what_it_noted(tmp_path: Path):
    places = {"base": "b", "snapshot": "s", "output": str(tmp_path / "gone")}
    how: dict[str, Any] = {"rank": 8, "epochs": 1.0, "batch_size": 8, "learning_rate": 1e-3, "max_rows": None}
    job = Job("run", **places, **how, max_length=64, seed=0, threads=1, dtype="float32")
    plan = Plan("sft", "enough labels")
    assert training_of(job, plan, {"forgetting": MEASURED})["training"]["forgetting"] == MEASURED
    assert "forgetting" not in training_of(job, plan, {})["training"]
    (tmp_path / "gone").mkdir()
    Report(10, {}, True).write(tmp_path / "gone" / REPORT)
    assert training_of(job, plan, {"forgetting": MEASURED})["training"]["forgetting"] is None


def test_without_a_measurement_a_guardrail_is_inconclusive(make: Callable[..., RetrainPipeline], settings: Settings):
    pipeline = make(changed=limited(settings, 0.5))
    vote(pipeline.store, 60)
    assert state(pipeline, pipeline.run("reviews", "test")) == "finished"
    ((verdict, reason),) = decisions(pipeline)
    assert verdict == "inconclusive" and "forgetting was not measured" in reason


def evidence(rag: bool, lineage: dict[str, Any], settings: Settings) -> Evidence:
    found = result(0.1)
    found = replace(found, evidence=replace(found.evidence, candidate_is_rag=rag))
    champion: Any = None
    return Evidence(found, champion, lineage, settings.models["reviews"])


def test_a_retrieval_forgets_nothing(settings: Settings):
    run = Run("run-1", "reviews", "test", "x")
    named = judge(run, evidence(True, {}, limited(settings, 0.0)), ["a", "b"])
    suite = named.context.evidence["suites"]["forgetting"]
    assert named.outcome == "pass" and suite["arms"]["candidate"]["value"] == 0.0
    assert "forgetting" not in judge(run, evidence(True, {}, settings), ["a", "b"]).context.evidence["suites"]


def test_forgetting_is_measured_without_a_guardrail_and_no_default_judges_it(settings: Settings):
    run = Run("run-1", "reviews", "test", "x")
    without_bound = MEASURED | {"value": 9.0, "low": None, "high": None}
    found = judge(run, evidence(False, {"training": {"forgetting": without_bound}}, settings), ["a", "b"])
    assert found.outcome == "pass"
    assert found.context.evidence["suites"]["forgetting"]["arms"]["candidate"] == {
        "value": 9.0,
        "low": None,
        "high": None,
    }


@pytest.mark.parametrize("form", ["margin", "ratio", "within", "min"])
def test_a_guardrail_of_forgetting_has_a_maximum_only(form: str):
    with pytest.raises(
        ValidationError, match="forgetting is measured for the candidate alone; give the guardrail a max"
    ):
        Guardrail.model_validate({"kpi": "forgetting", "max": 1.0, form: 0.5 if form == "within" else 1.0})


def test_the_command_line_shows_forgetting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run = dict.fromkeys(runs.ROWS, "x") | {"progress": None, "finished": True, "trials": []}

    class Client:
        def get(self, path: str) -> Any:
            if "/runs/" in path:
                return run | {"detail": {"forgetting": MEASURED}}
            return [{"version": 0, "kind": "base"}, {"version": 1, "kind": "adapter", "forgetting": 0.3}]

    for module in (reports, runs):
        monkeypatch.setattr(module, "client_of", lambda _: Client())
    runs.show("run-1")
    reports.versions("reviews")
    said = capsys.readouterr().out
    assert "forgetting 0.300 nats per token on 36 general prompts" in said
    assert "forgetting" in said.splitlines()[-4] + said.splitlines()[-3] and "0.3" in said
