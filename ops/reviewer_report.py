"""What reviewers of a model labelled, how far they agree, and the answers on which they disagree.

It owns how much is read: labels of DAYS, MOST_LABELS at most.
"""

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from core.db import reviews
from core.errors import InputError
from core.names import label_key
from feedback.reviewer_agreement import LabelledAnswer, Settlement, gather, is_open_to, settle
from ops import views
from ops.agreement_statistics import report
from ops.control import Control

DAYS = 90
MOST_LABELS = 20_000
MOST_LISTED = 50


@dataclass(frozen=True, slots=True)
class Reviews:
    """The answers of a model that reviewers labelled, the newest first. `is_drawn` has those from the random part."""

    answers: dict[str, LabelledAnswer]
    drawn: frozenset[str]
    labels: list[str]
    reviewers: int

    def settled(self, identity: str) -> Settlement:
        """What counts as the label of an answer."""
        return settle(self.answers[identity], self.reviewers)

    def awaits_adjudication(self, identity: str) -> bool:
        """Whether reviewers disagree about an answer, and as many labelled it as `feedback.reviewers` says."""
        found = self.answers.get(identity)
        return found is not None and len(found.labels) >= self.reviewers and self.settled(identity).how == "open"


def read(control: Control, model: str) -> Reviews:
    """The labels of reviewers. Raises InputError if the model has no labels, NotFound if there is no such model."""
    settings = views.settings_of(control, model)
    if settings.task != "classify":
        raise InputError(f"{model} has no labels: only labels can be compared.", hint="Choose a model that classifies.")
    since = control.clock() - timedelta(days=DAYS)
    rows = reviews.labels(control.store, model=model, since=since, limit=MOST_LABELS)
    known = {label_key(label): label for label in settings.labels}
    labelled = [row | {"label": known.get(label_key(str(json.loads(row["value"]))))} for row in rows]
    return Reviews(
        gather(row for row in labelled if row["label"] is not None),
        frozenset(row["interaction_id"] for row in rows if row["is_drawn"]),
        settings.labels,
        settings.feedback.reviewers,
    )


def view(control: Control, model: str, reader: str | None = None) -> views.View:
    """Agreement of the reviewers of a model, and the first MOST_LISTED answers that wait for an adjudication.

    Answers that the user `reader` can still label are left out and counted in `hidden`: agreement on one answer would
    tell its label.
    """
    found = read(control, model)
    every = len(found.answers)
    if reader:
        shown = {name: one for name, one in found.answers.items() if not is_open_to(one, reader, found.reviewers)}
        found = replace(found, answers=shown)
    waiting = [identity for identity in found.answers if found.awaits_adjudication(identity)]
    return {
        "model": model,
        "labels": found.labels,
        "reviewers": found.reviewers,
        "days": DAYS,
        "hidden": every - len(found.answers),
        **report(found.answers, found.labels, found.reviewers),
        "to_adjudicate": len(waiting),
        "disagreements": [_disagreement(identity, found) for identity in waiting[:MOST_LISTED]],
    }


def _disagreement(identity: str, found: Reviews) -> dict[str, Any]:
    return {"interaction_id": identity, "labels": dict(sorted(found.answers[identity].labels.items()))}
