"""The objective: what a snapshot is good for.

It owns one pure function from counts to a plan or a refusal with its reason. Preference objectives (DPO,
KTO) take their place here when their trainers exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.settings import RetrainSettings


@dataclass(frozen=True, slots=True)
class Objective:
    """What to train for; `None` when the data does not suffice, with what is missing."""

    name: str | None
    reason: str


def choose(train_labels: Mapping[str, int], settings: RetrainSettings, signal: str = "label") -> Objective:
    """SFT when the train split has enough labels, of at least two kinds, or enough corrections."""
    total = sum(train_labels.values())
    if total < settings.min_labels:
        wanted = f"retrain.min_labels wants {settings.min_labels}"
        return Objective(None, f"{total} {signal}s in the train split; {wanted}.")
    if signal != "label":
        return Objective("sft", f"{total} {signal}s in the train split.")
    kinds = sorted(label for label, n in train_labels.items() if n)
    if len(kinds) < 2:
        return Objective(None, f"Every label in the train split is {kinds[0]!r}; a classifier wants at least two.")
    return Objective("sft", f"{total} labels in the train split.")
