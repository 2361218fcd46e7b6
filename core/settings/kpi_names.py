"""Names of the KPIs and suites that the settings may name."""

from typing import Literal

LabelKpi = Literal["accuracy", "macro_f1", "weighted_f1", "roc_auc"]
# KPIs of answers that are JSON or calls of tools.
StructuredKpi = Literal["valid_json", "schema_match", "tool_name", "tool_name_f1", "tool_arguments", "tool_fields"]
# KPIs of held-out preferences.
PreferenceKpi = Literal["preference_margin", "preference_accuracy"]
TextKpi = Literal["exact_match", "token_f1", "chrf", PreferenceKpi, StructuredKpi]
PrimaryKpi = Literal[LabelKpi, TextKpi]
# The default primary KPI of a model with `task: generate`.
GENERATE_PRIMARY = "token_f1"
# What a training measures of its adapter.
FORGETTING = "forgetting"
SuiteKpi = Literal[
    "golden_accuracy",
    "safety",
    "over_refusal",
    "sycophancy",
    "hallucination",
    "consistency",
    "format_validity",
    "kl_to_base",
    "mean_length",
    "judge_win_rate",
    "forgetting",
]
# The suites that LoraLoop ships. Any other name under evaluation.suites is a folder of the user's.
ShippedSuite = Literal[
    "hallucination",
    "consistency",
    "refusal",
    "over_refusal",
    "sycophancy",
    "format",
    "length",
]
GuardedKpi = Literal[PrimaryKpi, "brier", "ece", "invalid_mass", "p95_latency_ms", SuiteKpi]
