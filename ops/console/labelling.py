"""Labelling: the queue of answers that people should review, and the labels and corrections that reviewers give there.

It owns which answer comes next; what is given goes in as any feedback does, checked by the same rules. Half of what it
offers for a model with labels is drawn at random, so that the labels say how often answers are right. With several
reviewers per answer, each gets what he has not labelled, and sees nothing of what the others said.
"""

import json
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import RedirectResponse

from core.acts import Act, act, note
from core.answers import json_in
from core.db import feedback, interactions, reviews
from core.errors import InputError, NotFound
from core.names import ADJUDICATOR
from core.records import Revocation
from core.route_list import RouteList
from feedback.ingest import add
from feedback.label_origins import DRAWN
from feedback.schema import CONSOLE, parse
from ops import views
from ops.blind_labels import reviewer_of
from ops.console import feedback_data
from ops.console.auth import ByVisitor, FormFields, Visitor
from ops.control import Control

# How many of a model's newest votes and answers are searched for doubtful ones.
WINDOW = 20_000
DAYS = 14
MOST_SKIPPED = 200
# Answers in doubt, and answers drawn at random.
Part = Literal["doubt", "random"]
Skipped = Annotated[int, Query(ge=0, le=MOST_SKIPPED)]
OTHER: dict[Part, Part] = {"doubt": "random", "random": "doubt"}


def queue(
    control: Control, model: str, skip: int, part: Part = "doubt", other: int = 0, reviewer: str | None = None
) -> views.View:
    """The next answer of a part but `skip`, or of the other part but `other` if none is left, and how many wait.

    `reviewer` is the user as whom the visitor labels.
    """
    settings = views.settings_of(control, model)
    labels = settings.labels
    waiting = in_doubt(control, model, reviewer)
    drawn = _drawn(control, model, labels, reviewer) if settings.task == "classify" else []
    parts: dict[Part, list[views.View]] = {"doubt": waiting, "random": drawn}
    if skip >= len(parts[part]) and other < len(parts[OTHER[part]]):
        part, skip, other = OTHER[part], other, skip
    next_up = parts[part][skip] if skip < len(parts[part]) else None
    about = feedback_data.interaction(control.store, next_up["interaction_id"]) if next_up else None
    return {
        "model": model,
        "labels": labels,
        "task": settings.task,
        "waiting": len(waiting),
        "more": len(waiting) == MOST_SKIPPED,
        "part": part,
        "then": OTHER[part],
        "skip": skip,
        "other": other,
        "drawn": len(drawn),
        "days": DAYS,
        "reviewers": settings.feedback.reviewers,
        "doubt": next_up,
        "about": about,
    }


def in_doubt(control: Control, model: str, reviewer: str | None = None) -> list[views.View]:
    """The answers in doubt for a reviewer, MOST_SKIPPED at most. Those with votes come first."""
    among = {"model": model, "since": control.clock() - timedelta(days=DAYS), "window": WINDOW}
    among |= {"reviewer": reviewer, "reviewers": views.settings_of(control, model).feedback.reviewers}
    found = reviews.answers_in_doubt(control.store, **among, limit=MOST_SKIPPED)
    if len(found) < MOST_SKIPPED:
        known = [label.strip().lower() for label in views.settings_of(control, model).labels]
        found += interactions.unsure_answers(control.store, **among, labels=known, limit=MOST_SKIPPED - len(found))
    return found


def _drawn(control: Control, model: str, labels: list[str], reviewer: str | None) -> list[views.View]:
    """Recent answers in an order that is random and does not change."""
    return interactions.random_answers(
        control.store,
        model=model,
        since=control.clock() - timedelta(days=DAYS),
        window=WINDOW,
        labels=[label.strip().lower() for label in labels],
        limit=MOST_SKIPPED,
        reviewer=reviewer,
        reviewers=views.settings_of(control, model).feedback.reviewers,
    )


def create_router(control: Control) -> RouteList:
    """Where the queue's form goes to."""
    router = RouteList()

    @router.post("/feedback/queue", include_in_schema=False)
    @act(Act.LABELS_WRITE)
    def label(
        request: Request,
        model: str,
        fields: FormFields,
        visitor: ByVisitor,
        skip: int = 0,
        part: Part = "doubt",
        other: int = 0,
    ) -> Any:
        settings = views.settings_of(control, model)
        kind = "label" if settings.task == "classify" else "correction"
        said = fields.get(kind, "").replace("\r\n", "\n").strip()
        if kind == "label" and said not in settings.labels:
            raise InputError("label: takes one of the model's labels.")
        identity = fields.get("interaction_id", "")
        about = feedback_data.interaction(control.store, identity)["interaction"] if kind == "correction" else {}
        signal = {
            "interaction_id": identity,
            "type": kind,
            "value": (json_in(said) or said) if about.get("is_value") else said,
            "user": reviewer_of(visitor.key_id),
            "metadata": {"source": CONSOLE, "actor": visitor.actor} | (DRAWN if part == "random" else {}),
        }
        records = parse(signal, control.clock, visitor.key_id, reviewer=True)
        add(control.store, records)
        note(request, model=model, thing=identity)
        # The parts take turns, each with its own number of skipped answers.
        following = {"model": model, "skip": other, "part": OTHER[part], "other": skip, "last": records[0].id}
        return RedirectResponse(f"/feedback/queue?{urlencode(following)}", 303)

    @router.post("/feedback/queue/undo", include_in_schema=False)
    @act(Act.LABELS_WRITE)
    def undo(
        request: Request,
        model: str,
        fields: FormFields,
        visitor: ByVisitor,
        skip: Skipped = 0,
        part: Part = "doubt",
        other: Skipped = 0,
    ) -> Any:
        take_back(control, request, model, fields, visitor)
        # The answer is where it was before: the parts have taken a turn since.
        again = {"model": model, "skip": other, "part": OTHER[part], "other": skip}
        return RedirectResponse(f"/feedback/queue?{urlencode(again)}", 303)

    return router


def take_back(control: Control, request: Request, model: str, fields: dict[str, str], visitor: Visitor) -> None:
    """Take back the label that a form names. Raises NotFound if the visitor did not give it."""
    row = last_label(control, model, fields.get("last", ""), visitor)
    if row is None:
        raise NotFound("label of yours that can be undone", fields.get("last", "")[:100])
    add(control.store, [Revocation(row["id"], control.clock())])
    note(request, model=model, thing=row["interaction_id"])


def last_label(control: Control, model: str, identity: str, visitor: Visitor) -> views.View | None:
    """A label or correction that this visitor gave here and did not take back, None if there is none."""
    row = feedback.find(control.store, id=identity) if identity else None
    own = (reviewer_of(visitor.key_id), f"{ADJUDICATOR}{visitor.key_id}")
    if row is None or row["user_id"] not in own or row["model"] != model or row["revoked_at"]:
        return None
    return row | {"value": json.loads(row["value"])}
