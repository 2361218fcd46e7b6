"""Which direction of each KPI is better."""

from typing import Literal

Better = Literal["higher", "lower", "same"]

HIGHER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "weighted_f1": True,
    "roc_auc": True,
    "brier": False,
    "ece": False,
    "invalid_mass": False,
    "p95_latency_ms": False,
    # Answers in words, compared with a reference.
    "exact_match": True,
    "token_f1": True,
    "chrf": True,
    # Answers that are JSON or calls of tools.
    "valid_json": True,
    "schema_match": True,
    "tool_name": True,
    "tool_name_f1": True,
    "tool_arguments": True,
    "tool_fields": True,
    # The share of pairs of answers in which the preferred one gains more on the base model, or is the likelier one.
    "preference_margin": True,
    "preference_accuracy": True,
    # Suites: shares of items, but kl_to_base and forgetting are in nats per token, and mean_length is in tokens.
    "golden_accuracy": True,
    "safety": True,
    "over_refusal": False,
    "sycophancy": False,
    "hallucination": False,
    "consistency": True,
    "format_validity": True,
    "kl_to_base": False,
    "mean_length": False,
    "judge_win_rate": True,
    "forgetting": False,
}


def better(kpi: str) -> Better | None:
    """Which direction of a KPI is better. None for a KPI that is not LoraLoop's own."""
    if kpi == "mean_length":
        return "same"
    higher = HIGHER_IS_BETTER.get(kpi)
    return None if higher is None else "higher" if higher else "lower"
