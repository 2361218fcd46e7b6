"""What counts as right where several reviewers label one answer. Data in, data out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.names import ADJUDICATOR


@dataclass(slots=True)
class LabelledAnswer:
    """The last label of each reviewer on one answer, and the label of its newest adjudication."""

    labels: dict[str, str] = field(default_factory=dict)
    adjudicated: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What counts as the right label of an answer: `label`, or None while reviewers disagree.

    `how` is `adjudicated`, `newest`, `agreed`, `majority` or `open`.
    """

    label: str | None
    how: str


def gather(rows: Iterable[Mapping[str, Any]]) -> dict[str, LabelledAnswer]:
    """Labels by answer, from rows with `interaction_id`, `user_id` and `label`, newest first."""
    found: dict[str, LabelledAnswer] = {}
    for row in rows:
        answer = found.setdefault(row["interaction_id"], LabelledAnswer())
        if not row["user_id"].startswith(ADJUDICATOR):
            answer.labels[row["user_id"]] = row["label"]
        elif answer.adjudicated is None:
            answer.adjudicated = row["label"]
    return found


def is_open_to(answer: LabelledAnswer, reviewer: str, reviewers: int) -> bool:
    """Whether a reviewer can still label an answer, so that the labels of others are hidden from him.

    With `feedback.reviewers: 1`, nothing is hidden.
    """
    given = len(answer.labels) + (answer.adjudicated is not None)
    return reviewers > 1 and reviewer not in answer.labels and given < reviewers


def settle(answer: LabelledAnswer, reviewers: int) -> Settlement:
    """What counts as right, with `feedback.reviewers`. curation.sql and label_selection.sql have the same rule.

    `newest` stands for the newest label of any reviewer, which is the rule with one reviewer per answer.
    """
    if answer.adjudicated is not None:
        return Settlement(answer.adjudicated, "adjudicated")
    if reviewers == 1:
        return Settlement(next(iter(answer.labels.values()), None), "newest")
    counts = Counter(answer.labels.values())
    for label, count in counts.items():
        if 2 * count > counts.total():
            return Settlement(label, "agreed" if len(counts) == 1 else "majority")
    return Settlement(None, "open")
