"""Votes: feedback as pages list it, and an interaction with all that was said of it.

It owns the search and the shape of what is found; it must not judge what a vote is worth.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from core.answers import draft_of_answer, line_of_answer, parts_of_answer
from core.clock import Clock
from core.db import feedback, interactions
from core.db.store import Store
from core.errors import NotFound
from core.prompts import from_stored, schema_of, shown_messages, tools_of
from feedback.label_origins import origin_of
from feedback.schema import FeedbackRequest
from ops.blind_labels import BlindLabels
from ops.views import View

TYPES = get_args(FeedbackRequest.model_fields["type"].annotation)
# Sorts after every id of feedback, which are printable ASCII.
LAST_ID = "\x7f"


@dataclass(frozen=True, slots=True)
class Search:
    """Which feedback to list, newest first; None leaves a part open. (`before`, `before_id`) is where to go on."""

    model: str | None = None
    type: str | None = None
    words: str | None = None
    before: datetime | None = None
    before_id: str | None = None


def search(store: Store, wanted: Search, limit: int, clock: Clock, blind: BlindLabels) -> View:
    """A page of feedback with what each is about, and where the next page begins, without what is hidden."""
    rows = feedback.page(
        store,
        model=wanted.model,
        type=wanted.type,
        words=wanted.words or None,
        before=wanted.before or clock().replace(year=9999),
        before_id=wanted.before_id or LAST_ID,
        limit=limit + 1,
        reader=blind.reader,
        blind=blind.models,
    )
    shown = rows[:limit]
    about = interactions_of(store, {row["interaction_id"] for row in shown if row["interaction_id"]})
    for row in shown:
        row["value"], row["metadata"] = json.loads(row["value"]), json.loads(row["metadata"])
        row["about"] = about.get(row["interaction_id"])
    blind.hide(shown)
    last = shown[-1] if len(rows) > limit else None
    return {
        "feedback": shown,
        "blind": blind.models,
        "next": {"before": last["time"], "before_id": last["id"]} if last else None,
    }


def interactions_of(store: Store, ids: Iterable[str]) -> dict[str, View]:
    """Those of these interactions that are stored, by their ids."""
    return {identity: _as_pairs(row) for identity, row in interactions.find_all(store, ids=list(ids)).items()}


def interaction(store: Store, identity: str) -> View:
    """One interaction and all that was said of it. Raises NotFound."""
    row = interactions.find(store, id=identity)
    if row is None:
        raise NotFound("interaction", identity, hint="Its gateway may not have sent it yet.")
    votes = feedback.on_interaction(store, id=identity)
    for vote in votes:
        vote["value"], vote["metadata"] = json.loads(vote["value"]), json.loads(vote["metadata"])
        is_label = vote["type"] in ("label", "correction")
        vote["origin"] = origin_of(vote["user_id"], vote["metadata"], row["asked"]) if is_label else None
    return {"interaction": _as_pairs(row), "votes": votes}


def _as_pairs(row: dict[str, Any]) -> View:
    """An interaction with its prompt as (role, text) pairs, None where it was not kept or has more than text and calls.

    `said` has the parts of each choice of the answer, `line` all of it as one text, `draft` what a correction begins
    with. `is_value` says that the answer is JSON or may call tools.
    """
    request, choices = row.pop("request"), row.pop("choices")
    prompt = from_stored(row["endpoint"], request)
    pairs = shown_messages(prompt) if prompt else None
    said, line = parts_of_answer(row["answer"], choices), line_of_answer(row["answer"], choices)
    draft = draft_of_answer(row["answer"], choices)
    is_value = prompt is not None and (schema_of(prompt) is not None or bool(tools_of(prompt)))
    return row | {"prompt": pairs, "said": said, "line": line, "draft": draft, "is_value": is_value}
