"""Worth: what answers cost, whether fine-tuning beats putting examples into the prompt, and when it has paid.

It owns pure functions over evidence; what is done about it is a person's decision, no gate's.
"""

import math
from dataclasses import dataclass, replace

from eval.kpis.evidence import Evidence, Measure

SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True)
class CostBenefit:
    """Whether retrieval alone would do, with the reason.

    `saved_ms` is how much sooner the candidate answers than retrieval (p50), `saved_tokens` how many tokens shorter
    its prompts are, `requests` after how many requests the time saved is the time that the training took; None where
    that was not measured or never comes. `training_cost` is in the currency of `engine.price_per_hour`.
    """

    retrieval_is_enough: bool
    reason: str
    saved_ms: float | None = None
    saved_tokens: float | None = None
    requests: int | None = None
    training_cost: float | None = None


def priced(evidence: Evidence, price_per_hour: float | None) -> Evidence:
    """The evidence with each arm's cost of 1,000 answers, where a price is set and latencies were measured.

    Price × p50 latency, as if a machine gave one answer at a time: an upper bound, for engines answer in batches.
    """
    if price_per_hour is None:
        return evidence
    arms = {}
    for arm, measures in evidence.arms.items():
        found = measures.get("p50_latency_ms")
        # ms an answer are seconds a thousand.
        cost = {} if found is None else {"cost_per_1000": _times(found, price_per_hour / SECONDS_AN_HOUR)}
        arms[arm] = measures | cost
    return replace(evidence, arms=arms)


def _times(found: Measure, factor: float) -> Measure:
    return Measure(found.value * factor, found.low * factor, found.high * factor)


def compute_cost_benefit(
    evidence: Evidence, kpi: str, training_seconds: float | None, price_per_hour: float | None = None
) -> CostBenefit | None:
    """The candidate against the RAG arm; None where there was none, or the KPI is no number."""
    gain = evidence.differences.get(kpi, {}).get("rag")
    if gain is None or not math.isfinite(gain.value) or not math.isfinite(gain.lower):
        return None
    saved_ms, saved_tokens = _saved(evidence, "p50_latency_ms"), _saved(evidence, "prompt_tokens")
    requests = None
    if training_seconds is not None and saved_ms is not None and saved_ms > 0:
        requests = math.ceil(training_seconds * 1000 / saved_ms)
    cost = None
    if training_seconds is not None and price_per_hour is not None:
        cost = training_seconds / SECONDS_AN_HOUR * price_per_hour
    training = "the training" if cost is None else f"the training (cost {cost:.3g})"
    paid = f"{training} has paid for itself in time after {requests:,} requests" if requests else None
    said = f"{kpi} {gain.value:+.3f} over retrieval (lower bound {gain.lower:+.3f})"
    if gain.lower > 0:
        reason = f"Fine-tuning is worth it: {said}{f'; {paid}' if paid else ''}."
        return CostBenefit(False, reason, saved_ms, saved_tokens, requests, cost)
    if paid:
        reason = f"Retrieval answers about as well: {said} shows no gain; {paid}, and not before."
    else:
        reason = f"Retrieval is enough: {said} shows no gain, and its longer prompts were not shown to cost time."
    reason += " To serve it in place of adapters: retrain.objective: rag."
    return CostBenefit(True, reason, saved_ms, saved_tokens, requests, cost)


def _saved(evidence: Evidence, measure: str) -> float | None:
    """RAG's value minus the candidate's."""
    values = [evidence.arms.get(arm, {}).get(measure) for arm in ("rag", "candidate")]
    if values[0] is None or values[1] is None:
        return None
    return values[0].value - values[1].value
