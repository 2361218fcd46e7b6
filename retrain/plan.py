"""Plan a run: when feedback is enough to start one, and what to make of its snapshot. Pure functions with reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.settings import RetrainSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run makes: an adapter by `sft`, a retrieval by `rag`, or nothing; with the reason."""

    objective: Literal["sft", "rag"] | None
    reason: str


def reason_to_start(new_feedback: int, open_run: str | None, settings: RetrainSettings) -> str | None:
    """The reason to start a run now, or None if there is too little feedback or a run has not ended."""
    if open_run is not None or new_feedback < settings.min_new_feedback:
        return None
    return f"Triggered by {new_feedback:,} new feedback rows (threshold {settings.min_new_feedback:,})"


def choose_plan(train_labels: Mapping[str, int], settings: RetrainSettings, signal: str = "label") -> Plan:
    """SFT with enough corrections, or enough labels of at least two classes; a retrieval where the settings say so."""
    total = sum(train_labels.values())
    if settings.objective == "rag":
        return Plan("rag", "retrain.objective is rag.")
    if total < settings.min_labels:
        lacking = f"The train split has {total} {signal}s; retrain.min_labels requires {settings.min_labels}."
        return Plan("rag" if settings.fallback == "rag" else None, lacking)
    if signal != "label":
        return Plan("sft", f"The train split has {total} {signal}s.")
    classes = sorted(label for label, count in train_labels.items() if count)
    if len(classes) < 2:
        return Plan(None, f"Every label in the train split is {classes[0]!r}; a classifier needs at least two classes.")
    return Plan("sft", f"The train split has {total} labels.")


def require_examples(examples: int, plan: Plan, settings: RetrainSettings) -> Plan:
    """The plan to make a retrieval, or no plan if it would have fewer examples than `retrain.min_examples`."""
    if examples >= settings.min_examples:
        return plan
    return Plan(
        None,
        f"{plan.reason} A retrieval would have {examples} examples; "
        f"retrain.min_examples requires {settings.min_examples}.",
    )
