"""Facts about the offline gate."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.settings import Guardrail, Primary, PromotionSettings
from eval.gates.offline import LAST_USE, decide, spent_level
from eval.gates.result import Check, Outcome
from eval.kpis.bootstrap import BootstrapPlan
from eval.kpis.comparison import compare_labels
from eval.kpis.evidence import ArmScores, Difference, Evidence, Measure, SuiteEvidence

SETTINGS = PromotionSettings(primary=Primary(kpi="macro_f1", min_gain=0.0))


def evidence(
    gain: float = 0.1,
    width: float = 0.05,
    *,
    n: int = 200,
    users: int = 50,
    use: int = 1,
    against: dict[str, float] | None = None,
    extra: dict[str, Measure] | None = None,
) -> Evidence:
    gains = {"champion": gain, "base": gain, "rag": gain} | (against or {})
    arm = {"accuracy": Measure(0.8, 0.75, 0.85), "macro_f1": Measure(0.7, 0.65, 0.75)} | (extra or {})
    differences = {
        kpi: {other: Difference(g, g - width, g + width, 0.05) for other, g in gains.items()}
        for kpi in ("macro_f1", "accuracy")
    }
    arms = dict.fromkeys(("base", "rag", "champion", "candidate"), arm)
    return Evidence(n, users, arms, differences, {}, "h1", use)


def test_a_clear_gain_passes_and_says_how_large_it_is():
    judgement = decide(evidence(), SETTINGS)
    assert judgement.outcome is Outcome.PASS
    assert "macro_f1 is 0.100 higher than the champion's: at least +0.050" in judgement.reason


def test_a_gain_that_chance_explains_is_inconclusive():
    judgement = decide(evidence(gain=0.03), SETTINGS)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert "do not rule out chance" in judgement.reason


def test_a_clear_loss_fails():
    assert decide(evidence(gain=-0.1), SETTINGS).outcome is Outcome.FAIL


def test_a_gain_below_the_required_one_does_not_pass():
    settings = SETTINGS.model_copy(update={"primary": Primary(kpi="macro_f1", min_gain=0.08)})
    assert decide(evidence(gain=0.1), settings).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("arm", ["base", "rag"])
def test_a_candidate_that_retrieval_or_base_beats_does_not_pass(arm: str):
    judgement = decide(evidence(against={arm: -0.2}), SETTINGS)
    assert judgement.outcome is Outcome.FAIL
    assert {"base": "the base model", "rag": "retrieval"}[arm] in judgement.reason


def test_an_arm_can_be_waived():
    settings = SETTINGS.model_copy(update={"must_beat": ["base"]})
    assert decide(evidence(against={"rag": -0.2}), settings).outcome is Outcome.PASS


@pytest.mark.parametrize(("n", "users"), [(29, 50), (200, 19)])
def test_too_small_a_holdout_is_never_a_pass(n: int, users: int):
    assert decide(evidence(n=n, users=users), SETTINGS).outcome is Outcome.INCONCLUSIVE


def test_a_spent_holdout_is_never_a_pass():
    judgement = decide(evidence(use=LAST_USE + 1), SETTINGS)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert "which is the maximum" in judgement.reason


def test_a_kpi_that_is_not_a_number_is_never_a_pass():
    nothing = Difference(math.nan, math.nan, math.nan, 0.05)
    broken = evidence()
    broken.differences["macro_f1"]["champion"] = nothing
    assert decide(broken, SETTINGS).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("floor", "outcome"), [(0.74, Outcome.PASS), (0.78, Outcome.INCONCLUSIVE), (0.86, Outcome.FAIL)]
)
def test_a_minimum_is_compared_with_the_lower_bound(floor: float, outcome: Outcome):
    settings = SETTINGS.model_copy(update={"floors": {"accuracy": floor}})
    judgement = decide(evidence(), settings)
    assert judgement.outcome is outcome
    if outcome is not Outcome.PASS:
        said = f"accuracy is 0.800, lower bound 0.750; at least {floor:.3f}"
        assert said in judgement.reason


@pytest.mark.parametrize(("limit", "outcome"), [(0.1, Outcome.FAIL), (0.2, Outcome.INCONCLUSIVE), (0.26, Outcome.PASS)])
def test_a_maximum_is_compared_with_the_upper_bound(limit: float, outcome: Outcome):
    settings = SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi="invalid_mass", max=limit)]})
    judgement = decide(evidence(extra={"invalid_mass": Measure(0.2, 0.15, 0.25)}), settings)
    assert judgement.outcome is outcome
    assert outcome is Outcome.PASS or "0.200, upper bound 0.250; at most" in judgement.reason


def test_a_limit_on_what_has_too_few_users_for_a_bound_is_never_a_pass():
    settings = SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi="invalid_mass", max=0.5)]})
    judgement = decide(evidence(extra={"invalid_mass": Measure(0.0, math.nan, math.nan)}), settings)
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert "too few users for a bound" in judgement.reason


def test_a_latency_of_few_timed_items_is_compared_as_it_is_and_says_so():
    settings = SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi="p95_latency_ms", max=900)]})
    few = {"p95_latency_ms": Measure(850.0, 700.0, math.nan)}
    (check,) = [one for one in decide(evidence(extra=few), settings).checks if "latency" in one.name]
    assert check.outcome is Outcome.PASS and "compared without a bound" in check.reason
    many = {"p95_latency_ms": Measure(850.0, 700.0, 950.0)}
    assert decide(evidence(extra=many), settings).outcome is Outcome.INCONCLUSIVE


OWN = Guardrail(kpi="cost", margin=0.02)


@pytest.mark.parametrize(
    ("better", "value", "outcome"),
    [
        ("lower", 0.1, Outcome.FAIL),
        ("lower", -0.1, Outcome.PASS),
        ("higher", 0.1, Outcome.PASS),
        ("higher", -0.1, Outcome.FAIL),
        ("same", 0.1, Outcome.FAIL),
        ("same", -0.1, Outcome.FAIL),
        ("same", 0.0, Outcome.PASS),
        (None, 0.1, Outcome.FAIL),
    ],
)
def test_a_suite_of_ones_own_says_which_way_is_better(better: Any, value: float, outcome: Outcome):
    difference = Difference(value, value - 0.01, value + 0.01, 0.05)
    suite = SuiteEvidence("cost", 500, {}, difference, None, 0.01, better=better)
    found = replace(evidence(), suites={"cost": suite})
    settings = SETTINGS.model_copy(update={"guardrails": [OWN]})
    assert decide(found, settings).outcome is outcome


@pytest.mark.parametrize(("gain", "outcome"), [(0.0, Outcome.INCONCLUSIVE), (0.06, Outcome.PASS), (-0.2, Outcome.FAIL)])
def test_a_guardrail_with_a_margin_asks_that_harm_is_excluded(gain: float, outcome: Outcome):
    settings = SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi="accuracy", margin=0.02)]})
    found = evidence()
    found.differences["accuracy"]["champion"] = Difference(gain, gain - 0.05, gain + 0.05, 0.05)
    assert decide(found, settings).outcome is outcome


def test_a_guardrail_that_was_not_measured_is_never_a_pass():
    settings = SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi="p95_latency_ms", max=900)]})
    assert decide(evidence(), settings).outcome is Outcome.INCONCLUSIVE
    slow = evidence(extra={"p95_latency_ms": Measure(950.0, math.nan, math.nan)})
    assert decide(slow, settings).outcome is Outcome.FAIL


def test_levels_spent_over_all_uses_stay_within_alpha():
    assert sum(spent_level(0.05, use) for use in range(1, 100_000)) <= 0.05
    assert spent_level(0.05, 1) == pytest.approx(0.0304, abs=1e-4)


def test_equal_models_rarely_pass():
    """A small run of what the gates' benchmark does at length: 300 equal pairs, clustered by user."""
    rng = np.random.default_rng(7)
    passed = 0
    for seed in range(300):
        users = np.repeat(np.arange(60), 4)
        truth = rng.integers(0, 2, len(users))
        arms = {
            name: ArmScores(_answers(rng, truth), np.ones(len(users)), np.ones(len(users), dtype=np.int64))
            for name in ("champion", "candidate")
        }
        found = compare_labels(
            truth, users, arms, BootstrapPlan(0.05, 400, seed, {"macro_f1": spent_level(0.05, 1)}), holdout="h1"
        )
        passed += decide(found, SETTINGS).outcome is Outcome.PASS
    assert passed / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def _answers(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    right = rng.random(len(truth)) < 0.7
    return np.eye(2)[np.where(right, truth, 1 - truth)]


# Each kind of guardrail: a value within its limit whose bound is beyond it is no pass. With a good bound it passes.
KPI = "kpi_of_mine"


def guarded(limit: dict[str, float], measured: Measure, change: Difference) -> Check:
    """The check of a guardrail with this limit on a KPI whose higher values are better."""
    suite = SuiteEvidence(KPI, 100, dict.fromkeys(("champion", "candidate"), measured), change, change, better="higher")
    found = replace(evidence(), suites={KPI: suite})
    judgement = decide(found, SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi=KPI, **limit)]}))
    (check,) = (check for check in judgement.checks if check.kpi == KPI)
    return check


@pytest.mark.parametrize(
    ("kind", "limit", "good", "bad"),
    [
        ("max", 0.5, Measure(0.4, 0.3, 0.45), Measure(0.4, 0.3, 0.6)),
        ("min", 0.5, Measure(0.6, 0.55, 0.7), Measure(0.6, 0.4, 0.7)),
        ("margin", 0.05, Difference(0.0, -0.04, 0.04, 0.05), Difference(0.0, -0.06, 0.04, 0.05)),
        ("ratio", 1.5, Difference(0.2, 0.1, 0.4, 0.05), Difference(0.2, 0.1, 0.6, 0.05)),
        ("within", 0.15, Difference(0.05, -0.05, 0.14, 0.05), Difference(0.05, -0.05, 0.16, 0.05)),
    ],
)
def test_each_kind_of_guardrail_is_judged_by_its_bound(
    kind: str, limit: float, good: Measure | Difference, bad: Measure | Difference
):
    for found, outcome in ((good, Outcome.PASS), (bad, Outcome.INCONCLUSIVE)):
        level = found if isinstance(found, Measure) else Measure(0.5, 0.4, 0.6)
        change = found if isinstance(found, Difference) else Difference(0.0, -0.01, 0.01, 0.05)
        check = guarded({kind: limit}, level, change)
        assert (check.kind, check.outcome, check.threshold) == (kind, outcome, limit), check.reason


def test_a_reason_names_every_check_that_decides_and_the_gain_first():
    suite = SuiteEvidence(KPI, 100, {"candidate": Measure(0.9, 0.8, 0.95)}, better="lower")
    found = replace(evidence(gain=-0.2), suites={KPI: suite})
    judgement = decide(found, SETTINGS.model_copy(update={"guardrails": [Guardrail(kpi=KPI, max=0.1)]}))
    assert judgement.outcome is Outcome.FAIL
    assert judgement.reason.startswith("4 checks did not pass: macro_f1 is 0.200 lower than the champion's")
    assert judgement.reason.endswith(f"{KPI} is 0.900, upper bound 0.950; at most 0.100 is accepted.")
