"""Plan a run: when feedback is enough to start one, and what to make of its snapshot. Pure functions with reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.db.runs import FinishedRun
from core.settings import RetrainSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run makes: an adapter by `sft`, a retrieval by `rag`, or nothing; with the reason."""

    objective: Literal["sft", "rag"] | None
    reason: str


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """Answers with a new label or correction since the last run, and the number of their voters."""

    answers: int
    voters: int


def reason_to_start(new: NewFeedback, open_run: str | None, settings: RetrainSettings) -> str | None:
    """The reason to start a run now, or None if there is too little feedback or a run has not ended."""
    few = new.answers < settings.min_new_feedback or new.voters < settings.min_new_voters
    if open_run is not None or few:
        return None
    return (
        f"Triggered by new feedback on {new.answers:,} answers from {new.voters:,} voters "
        f"(thresholds {settings.min_new_feedback:,} and {settings.min_new_voters:,})"
    )


def repeats_run(snapshot: str, settings: Mapping[str, Any], last: FinishedRun | None) -> str | None:
    """Why a run would only repeat the last finished one: the same rows and settings make the same adapter."""
    if last is None or (last.snapshot, last.settings) != (snapshot, settings):
        return None
    return f"No row of the snapshot has changed since run {last.id}, which has the same settings."


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
