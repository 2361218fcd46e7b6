"""Facts about the comparison with TF-IDF and logistic regression."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.db import decisions as decisions_table
from eval.evaluation import Result
from eval.kpis.evidence import Measure
from retrain.pipeline import RetrainPipeline
from retrain.simple_classifier import warning_if_behind
from tests.support.pipeline import result, state, vote


def measured(simple: float) -> Result:
    """A candidate with an accuracy of 0.7, and a simple classifier with this one."""
    return replace(result(0.1), tfidf={"accuracy": Measure(simple, math.nan, math.nan)})


@pytest.mark.parametrize(("simple", "warns"), [(0.69, False), (0.7, True), (0.84, True), (math.nan, False)])
def test_a_candidate_that_is_not_above_gets_a_warning(simple: float, warns: bool) -> None:
    assert (warning_if_behind(measured(simple)) is not None) is warns


def test_an_evaluation_without_the_simple_classifier_warns_of_nothing() -> None:
    assert warning_if_behind(result(0.1)) is None


def test_the_warning_is_in_the_run_the_ledger_and_the_log_and_the_gate_decides_without_it(
    make: Callable[..., RetrainPipeline], caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = make()
    pipeline.evaluate = lambda *_, **__: measured(0.84)
    vote(pipeline.store, 60)
    run = pipeline.run("reviews", "test")
    warning = warning_if_behind(measured(0.84))
    assert warning is not None and "0.840" in warning and "0.700" in warning
    found = pipeline.runs.find(run)
    assert found is not None and pipeline.runs.details(found)["warning"] == warning
    body = json.loads(decisions_table.chain(pipeline.store)[0]["body"])
    assert body["evidence"]["warning"] == warning and warning in caplog.text
    assert (body["verdict"], state(pipeline, run)) == ("promoted", "finished")
