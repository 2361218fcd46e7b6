"""The objective: what a snapshot is good for.

It owns pure functions from counts to a plan or a refusal with its reason. Preference objectives (DPO,
KTO) take their place here when their trainers exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.settings import RetrainSettings


@dataclass(frozen=True, slots=True)
class Objective:
    """What to train for, or `rag` to make a retrieval; `None` when the data does not suffice, with what is missing."""

    name: str | None
    reason: str


def choose_objective(train_labels: Mapping[str, int], settings: RetrainSettings, signal: str = "label") -> Objective:
    """SFT when the train split has enough labels, of at least two kinds, or enough corrections; `rag` where set."""
    total = sum(train_labels.values())
    if settings.objective == "rag":
        return Objective("rag", "retrain.objective is rag.")
    if total < settings.min_labels:
        lacking = f"{total} {signal}s in the train split; retrain.min_labels wants {settings.min_labels}."
        return Objective("rag" if settings.fallback == "rag" else None, lacking)
    if signal != "label":
        return Objective("sft", f"{total} {signal}s in the train split.")
    kinds = sorted(label for label, n in train_labels.items() if n)
    if len(kinds) < 2:
        return Objective(None, f"Every label in the train split is {kinds[0]!r}; a classifier wants at least two.")
    return Objective("sft", f"{total} labels in the train split.")


def enough_to_show(examples: int, why: Objective, settings: RetrainSettings) -> Objective:
    """The plan to make a retrieval of so many examples, or a refusal."""
    if examples >= settings.min_examples:
        return why
    wanted = f"retrain.min_examples wants {settings.min_examples}"
    return Objective(None, f"{why.reason} A retrieval would have {examples} examples to show; {wanted}.")
