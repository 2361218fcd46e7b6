"""Facts about costs and benefits: when examples in the prompt are enough, and when the training has paid for itself."""

import math

import pytest

from eval.cost_benefit import compute_cost_benefit, priced
from eval.kpis.evidence import Difference, Evidence, Measure


def evidence(gain: float, lower: float, rag_ms: float = 120, ours_ms: float = 20) -> Evidence:
    def arm(ms: float, tokens: float) -> dict[str, Measure]:
        return {
            name: Measure(value, math.nan, math.nan)
            for name, value in (("p50_latency_ms", ms), ("prompt_tokens", tokens))
        }

    arms = {"rag": arm(rag_ms, 300), "candidate": arm(ours_ms, 40)}
    return Evidence(100, 30, arms, {"macro_f1": {"rag": Difference(gain, lower, gain + 0.1, 0.05)}}, {})


def test_a_candidate_that_is_better_is_worth_it_and_says_when_it_has_paid():
    found = compute_cost_benefit(evidence(0.1, 0.02), "macro_f1", 60)
    assert found and not found.retrieval_is_enough
    assert (found.requests, found.saved_tokens) == (600, 260)
    assert found.reason == (
        "Fine-tuning is worth it: macro_f1 +0.100 over retrieval (lower bound +0.020). The training has paid for "
        "itself in time after 600 requests."
    )


def test_without_a_gain_only_saved_time_speaks_for_it():
    found = compute_cost_benefit(evidence(0.01, -0.02), "macro_f1", 60)
    assert found and found.retrieval_is_enough and "has paid for itself in time after 600 requests" in found.reason


@pytest.mark.parametrize(("ours_ms", "seconds"), [(150, 60.0), (120, 60.0), (20, None)])
def test_without_gain_or_saved_time_retrieval_is_enough(ours_ms: float, seconds: float | None):
    found = compute_cost_benefit(evidence(0.0, -0.02, ours_ms=ours_ms), "macro_f1", seconds)
    assert found and found.requests is None and found.reason.startswith("Retrieval is enough")


def test_what_was_not_measured_is_not_judged():
    assert compute_cost_benefit(evidence(math.nan, math.nan), "macro_f1", 60) is None
    assert compute_cost_benefit(evidence(0.1, 0.0), "accuracy", 60) is None


def test_a_price_makes_costs_of_latencies_and_of_the_training():
    found = priced(evidence(0.1, 0.02), 1.8)
    costs = {arm: measures["cost_per_1000"].value for arm, measures in found.arms.items()}
    assert costs == pytest.approx({"rag": 0.06, "candidate": 0.01})
    benefit = compute_cost_benefit(found, "macro_f1", 60, 1.8)
    assert (
        benefit
        and benefit.training_cost == pytest.approx(0.03)
        and "The training (cost 0.03) has paid" in benefit.reason
    )


def test_without_a_price_or_a_latency_there_is_no_cost():
    assert priced(evidence(0.1, 0.02), None) == evidence(0.1, 0.02)
    bare = Evidence(100, 30, {"base": {}}, {}, {})
    assert priced(bare, 1.8) == bare
