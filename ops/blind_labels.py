"""Blind labels: what a reviewer may not see of the labels of others, on every page, route and export.

With several reviewers per answer, the labels of others are hidden from each who can still label the answer. Nothing
that this person reads may depend on their values: a list, a count or a hit of a search would tell them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fastapi import Request

from core.api_keys import Scope
from core.db import reviews
from core.db.store import Row, Store
from core.names import REVIEWER
from core.settings import ModelSettings
from ops.data_files import LEFT_OUT

# What a reviewer says of an answer in the queue.
KINDS = ("label", "correction")


def reviewer_of(key_id: str) -> str:
    """The user as whom a key or a person labels."""
    return f"{REVIEWER}{key_id}"


def reader_of(request: Request) -> str | None:
    """The user as whom the request's visitor labels, None if the visitor may not label and so sees everything."""
    passed = request.state.admission
    return reviewer_of(passed.key_id) if passed.opens(Scope.OPS_WRITE) else None


@dataclass(frozen=True, slots=True)
class BlindLabels:
    """What is hidden from one reader. `needed` is the number of reviewers per model, of models with several."""

    store: Store
    reader: str | None
    needed: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, store: Store, models: Mapping[str, ModelSettings], reader: str | None, only: str | None = None
    ) -> "BlindLabels":
        """What is hidden from a reader of these models, or `only` of one. Nothing is hidden from a reader of None."""
        several = {
            name: model.feedback.reviewers
            for name, model in models.items()
            if model.feedback.reviewers > 1 and only in (None, name)
        }
        return cls(store, reader, several if reader else {})

    @property
    def models(self) -> list[str]:
        """The models that have labels which may be hidden."""
        return sorted(self.needed)

    @property
    def headers(self) -> dict[str, str]:
        """The header of a file that leaves out what is hidden."""
        return {LEFT_OUT: ", ".join(self.models)} if self.needed else {}

    def open_answers(self, model: str, ids: Collection[str]) -> set[str]:
        """Those of a model's answers that others labelled and the reader can still label."""
        if model not in self.needed:
            return set()
        labelled = reviews.reviewers(self.store, ids=list(ids))
        return {id for id, by in labelled.items() if self._may_label(by, self.needed[model])}

    def hidden(self, rows: Collection[Row]) -> list[Row]:
        """Those of these rows of feedback whose value is hidden.

        Each row has `model`, `interaction_id`, `type` and `user_id`. A row without a model is about an answer that has
        not come in: it counts as of the model with most reviewers. What is said of a conversation has no queue, and
        stays hidden.
        """
        if not self.needed:
            return []
        most = max(self.needed.values())
        others = [
            row
            for row in rows
            if row["type"] in KINDS
            and (row["model"] is None or row["model"] in self.needed)
            and (row["user_id"] or "").startswith(REVIEWER)
            and row["user_id"] != self.reader
        ]
        about = {row["interaction_id"]: self.needed.get(row["model"], most) for row in others if row["interaction_id"]}
        labelled = reviews.reviewers(self.store, ids=list(about))
        open_answers = {id for id, needed in about.items() if self._may_label(labelled.get(id, set()), needed)}
        return [row for row in others if not row["interaction_id"] or row["interaction_id"] in open_answers]

    def hide(self, rows: Collection[Row]) -> None:
        """Take the hidden values out of these rows of feedback. They get `hidden`."""
        for row in self.hidden(rows):
            row |= {"value": None, "comment": None, "hidden": True}
            if "metadata" in row:
                row["metadata"] = {}

    def _may_label(self, by: Collection[str], needed: int) -> bool:
        """Whether this reader can still label an answer that these reviewers labelled."""
        return self.reader not in by and len(by) < needed
