"""Facts about bad input: a gate never passes a value that is missing, empty or no number."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import CanarySettings, Guardrail, Primary, PromotionSettings
from eval.gates.canary import look
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.offline import decide
from eval.gates.result import Outcome
from eval.kpis.bootstrap import BootstrapPlan
from eval.kpis.comparison import compare_labels, compare_outcomes
from eval.kpis.evidence import ArmScores, Difference, Evidence, Measure, SuiteEvidence

BROKEN = st.sampled_from([math.nan, math.inf, -math.inf])
CANARY = CanarySettings(share=0.5, first_look_users=30, planned_users=200, min_minutes=0, max_hours=1)
PLAN = Plan(0.5, 0.4)
GOOD = ArmCounts(2000, 20_000, 0.2, 0.1, 0.9, 0.01, 0)
SETTINGS = PromotionSettings(
    primary=Primary(kpi="accuracy"),
    floors={"accuracy": 0.5},
    guardrails=[
        Guardrail(kpi="safety", margin=0.02),
        Guardrail(kpi="mean_length", within=0.15),
        Guardrail(kpi="p95_latency_ms", max=900, ratio=1.1),
    ],
)
ALL = ("base", "rag", "champion", "candidate")
GAIN = Difference(0.1, 0.05, 0.15, 0.05)
EVEN = Difference(0.0, -0.01, 0.01, 0.05)


def evidence() -> Evidence:
    arm = {"accuracy": Measure(0.8, 0.75, 0.85), "p95_latency_ms": Measure(300.0, math.nan, math.nan)}
    suites = {
        kpi: SuiteEvidence(kpi, 500, {"candidate": Measure(0.9, 0.87, 0.93)}, EVEN, EVEN, 0.01)
        for kpi in ("safety", "mean_length")
    }
    return Evidence(
        200,
        50,
        dict.fromkeys(ALL, arm),
        {"accuracy": dict.fromkeys(ALL[:3], GAIN)},
        {},
        "h1",
        1,
        suites,
        relative={"p95_latency_ms": EVEN},
    )


def test_whole_evidence_passes():
    assert decide(evidence(), SETTINGS).outcome is Outcome.PASS


@given(BROKEN, st.sampled_from(["value", "lower", "upper"]), st.sampled_from(ALL[:3]))
def test_a_broken_gain_never_passes(bad: float, field: str, other: str):
    found = evidence()
    found.differences["accuracy"] = dict(found.differences["accuracy"]) | {other: replace(GAIN, **{field: bad})}
    assert decide(found, SETTINGS).outcome is not Outcome.PASS


@given(BROKEN, st.sampled_from(["value", "lower", "upper"]), st.sampled_from(["safety", "mean_length"]))
def test_a_broken_suite_never_passes(bad: float, field: str, kpi: str):
    broken = replace(EVEN, **{field: bad})
    whole = evidence()
    suites = dict(whole.suites) | {kpi: replace(whole.suites[kpi], difference=broken, relative=broken)}
    judgement = decide(replace(whole, suites=suites), SETTINGS)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert kpi in judgement.reason


@pytest.mark.parametrize(
    "lost",
    [
        {"suites": {}},
        {"relative": {}},
        {"differences": {}},
        {"arms": {}},
        {"arms": {"candidate": {}}},
        {"n": 0, "users": 0},
        {"holdout_use": 0},
        {"confusion": {"candidate": [[0, 0], [30, 170]]}},
    ],
)
def test_what_was_not_measured_never_passes(lost: dict):
    judgement = decide(replace(evidence(), **lost), SETTINGS)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert judgement.reason


@pytest.mark.parametrize("arm", ["base", "rag"])
def test_an_arm_that_must_be_beaten_and_was_not_measured_is_inconclusive_unless_waived(arm: str):
    found = evidence()
    found.differences["accuracy"] = {name: GAIN for name in ALL[:3] if name != arm}
    judgement = decide(found, SETTINGS)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert f"leave {arm} out of promotion.must_beat" in judgement.reason
    other = "rag" if arm == "base" else "base"
    waived = decide(found, SETTINGS.model_copy(update={"must_beat": [other]}))
    assert waived.outcome is Outcome.PASS
    assert f"Waived in the settings: {arm}" in waived.reason


def test_a_suite_that_could_not_run_makes_the_gate_inconclusive():
    missing = SuiteEvidence("hallucination", 0, {}, missing="the file is gone")
    judgement = decide(replace(evidence(), suites=dict(evidence().suites) | {"hallucination": missing}), SETTINGS)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert judgement.reason == "hallucination could not be measured: the file is gone."


def test_a_waived_guardrail_is_not_judged_and_said():
    settings = SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi="hallucination", waived=True)]})
    missing = SuiteEvidence("hallucination", 0, {}, missing="the file is gone")
    judgement = decide(replace(evidence(), suites={"hallucination": missing}), settings)
    assert judgement.outcome is Outcome.PASS
    assert "Waived in the settings: hallucination" in judgement.reason


def test_a_default_guards_every_suite_that_ran():
    harmful = SuiteEvidence("hallucination", 500, {}, Difference(0.1, 0.06, 0.14, 0.05), None, 0.02)
    judgement = decide(replace(evidence(), suites=dict(evidence().suites) | {"hallucination": harmful}), SETTINGS)
    assert judgement.outcome is Outcome.FAIL
    assert "hallucination is" in judgement.reason


def test_a_suite_too_small_for_its_margin_says_how_many_items_it_needs():
    rng = np.random.default_rng(0)
    candidate, champion = ((rng.random(100) < 0.3).astype(float) for _ in range(2))
    small = compare_outcomes("hallucination", {"candidate": candidate, "champion": champion}, BootstrapPlan(0.05))
    judgement = decide(replace(evidence(), suites=dict(evidence().suites) | {"hallucination": small}), SETTINGS)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert "100 items resolve 0.1" in judgement.reason and "it needs" in judgement.reason


def test_a_ratio_is_never_judged_against_the_bare_base():
    slow = {"p95_latency_ms": Difference(0.5, 0.4, 0.6, 0.05)}
    assert decide(replace(evidence(), relative=slow), SETTINGS).outcome is Outcome.FAIL
    assert decide(replace(evidence(), relative=slow, champion_is_base=True), SETTINGS).outcome is Outcome.PASS


def test_lengths_may_not_move_either_way():
    short = replace(evidence().suites["mean_length"], relative=Difference(-0.3, -0.35, -0.25, 0.05))
    suites = dict(evidence().suites) | {"mean_length": short}
    assert decide(replace(evidence(), suites=suites), SETTINGS).outcome is Outcome.FAIL


def test_outcomes_that_are_no_numbers_make_a_suite_that_nobody_passes():
    outcomes = {"candidate": np.array([1.0, np.nan]), "champion": np.ones(2)}
    assert compare_outcomes("safety", outcomes, BootstrapPlan(0.05)).missing == "some items have no outcome"
    assert compare_outcomes("safety", {}, BootstrapPlan(0.05)).missing == "it has no items"


def test_an_empty_holdout_is_evidence_of_nothing():
    nothing = compare_labels(np.zeros(0, int), np.zeros(0, int), {}, BootstrapPlan(0.05, 200))
    assert decide(nothing, SETTINGS).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("truth", [np.zeros(40, int), np.arange(40) % 2])
def test_scores_that_are_no_numbers_and_one_class_never_pass(truth: np.ndarray):
    sure, broken = np.eye(2)[truth], np.full((40, 2), np.nan)
    users, mass, tokens = np.arange(40), np.ones(40), np.ones(40, int)
    arms = {name: ArmScores(1 - sure, mass, tokens) for name in ALL[:3]}
    settings = PromotionSettings(primary=Primary(kpi="accuracy"))
    for answers in (broken, sure if truth.max() == 0 else broken):
        found = compare_labels(
            truth, users, arms | {"candidate": ArmScores(answers, mass, tokens)}, BootstrapPlan(0.05, 200)
        )
        assert decide(found, settings).outcome is Outcome.INCONCLUSIVE


@given(
    BROKEN,
    st.sampled_from(["score_mean", "score_sd", "rate_mean", "rate_sd", "covariance", "vote_cap"]),
    st.booleans(),
    st.floats(0, 120),
)
def test_a_canary_whose_counts_are_no_numbers_never_passes(bad: float, field: str, mine: bool, minutes: float):
    better = replace(GOOD, score_mean=0.6)
    broken = replace(better if mine else GOOD, **{field: bad})
    arms = (GOOD, broken) if mine else (broken, better)
    assert look(*arms, PLAN, CANARY, minutes=minutes).judgement.outcome is not Outcome.PASS


@given(st.sampled_from([0, 1]), st.booleans(), st.booleans())
def test_an_arm_without_users_or_feedback_never_passes(users: int, mine: bool, silent: bool):
    better = replace(GOOD, score_mean=0.6)
    nobody = ArmCounts(users, users, 0.0, 0.0, 0.0, 0.0, 0)
    mute = replace(GOOD, score_mean=0.0, score_sd=0.0, rate_mean=0.0, rate_sd=0.0)
    lonely = (GOOD, nobody) if mine else (nobody, better)
    arms = (mute, mute) if silent else lonely
    for minutes in (0, 61):
        assert look(*arms, PLAN, CANARY, minutes=minutes).judgement.outcome is not Outcome.PASS


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.floats(-2, 2),
    st.floats(-1, 2),
    st.floats(-1, 2),
    st.integers(0, 10**6),
)
def test_impossible_counts_raise_nothing(ours: int, theirs: int, score: float, sd: float, rate: float, harmed: int):
    odd = ArmCounts(ours, ours, score, sd, rate, sd, harmed)
    found = look(replace(GOOD, users=theirs), odd, PLAN, CANARY, minutes=61)
    assert found.judgement.reason
