"""Costs and benefits: what answers cost, whether fine-tuning beats retrieval, and when training has paid off.

No gate uses these figures. They are for people.
"""

import math
from dataclasses import dataclass, replace

from eval.kpis.evidence import Evidence, Measure

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class CostBenefit:
    """Whether retrieval is enough, with the reason. A figure is None if it was not measured.

    `saved_ms`: how much faster the candidate answers than retrieval (p50). `saved_tokens`: how much shorter its prompts
    are. `requests`: the number of requests after which the saved time equals the training time, None if it never does.
    `training_cost` is in the currency of `engine.price_per_hour`.
    """

    retrieval_is_enough: bool
    reason: str
    saved_ms: float | None = None
    saved_tokens: float | None = None
    requests: int | None = None
    training_cost: float | None = None


def priced(evidence: Evidence, price_per_hour: float | None) -> Evidence:
    """The evidence with each arm's cost of 1,000 answers, if a price is set and latencies were measured.

    The cost is price × p50 latency, for one answer at a time. It is an upper bound, because engines answer in batches.
    """
    if price_per_hour is None:
        return evidence
    arms = {}
    for arm, measures in evidence.arms.items():
        latency = measures.get("p50_latency_ms")
        cost: dict[str, Measure] = {}
        if latency is not None:
            # Milliseconds per answer are seconds per 1,000 answers.
            factor = price_per_hour / SECONDS_PER_HOUR
            cost["cost_per_1000"] = Measure(latency.value * factor, latency.low * factor, latency.high * factor)
        arms[arm] = measures | cost
    return replace(evidence, arms=arms)


def compute_cost_benefit(
    evidence: Evidence, kpi: str, training_seconds: float | None, price_per_hour: float | None = None
) -> CostBenefit | None:
    """Compare the candidate with the RAG arm. None without a RAG arm, or if the KPI is not a finite number."""
    gain = evidence.differences.get(kpi, {}).get("rag")
    if gain is None or not math.isfinite(gain.value) or not math.isfinite(gain.lower):
        return None
    saved_ms, saved_tokens = _saved(evidence, "p50_latency_ms"), _saved(evidence, "prompt_tokens")
    requests = None
    if training_seconds is not None and saved_ms is not None and saved_ms > 0:
        requests = math.ceil(training_seconds * 1000 / saved_ms)
    cost = None
    if training_seconds is not None and price_per_hour is not None:
        cost = training_seconds / SECONDS_PER_HOUR * price_per_hour
    training = "The training" if cost is None else f"The training (cost {cost:.3g})"
    paid = f"{training} has paid for itself in time after {requests:,} requests." if requests else ""
    comparison = f"{kpi} {gain.value:+.3f} over retrieval (lower bound {gain.lower:+.3f})"
    if gain.lower > 0:
        reason = f"Fine-tuning is worth it: {comparison}. {paid}".rstrip()
        return CostBenefit(False, reason, saved_ms, saved_tokens, requests, cost)
    if paid:
        reason = f"Retrieval answers about as well: {comparison} shows no gain. {paid}"
    else:
        reason = f"Retrieval is enough: {comparison} shows no gain, and its longer prompts were not shown to cost time."
    reason += " To serve retrieval instead of adapters, set retrain.objective: rag."
    return CostBenefit(True, reason, saved_ms, saved_tokens, requests, cost)


def _saved(evidence: Evidence, measure: str) -> float | None:
    """RAG's value minus the candidate's."""
    values = [evidence.arms.get(arm, {}).get(measure) for arm in ("rag", "candidate")]
    if values[0] is None or values[1] is None:
        return None
    return values[0].value - values[1].value
