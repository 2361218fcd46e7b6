"""The requests of the client, as plain data. Nothing here sends anything."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict
from urllib.parse import quote
from uuid import uuid4

from core.errors import InputError

Json = dict[str, Any]
Server = Literal["gateway", "control"]
Flag = Literal["unsafe", "hallucination", "private", "other"]
# The most objects of feedback in one request, and the most bytes, which are less than the gateway takes.
BATCH, BATCH_BYTES = 1000, 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `repeatable` says that sending it twice is the same as sending it once."""

    server: Server
    method: str
    path: str
    body: Any = None
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    repeatable: bool = False


class About(TypedDict, total=False):
    """What feedback may say besides its value.

    `user` is who gives it, as in the completion's request. `choice` is the index of the answer's choice, if there were
    several. Feedback with the `id` of earlier feedback replaces it.
    """

    user: str
    comment: str
    choice: int
    metadata: dict[str, str]
    id: str


def item(kind: str, value: Any, interaction_id: str | None, about: About) -> Json:
    """One object of feedback."""
    named = {} if interaction_id is None else {"interaction_id": interaction_id}
    return {"type": kind, "value": value, **named, **about}


def batches(items: Sequence[Mapping[str, Any]]) -> Iterator[Call]:
    """Requests for feedback, as few as the gateway takes.

    An object without an id gets one here, so that a request that is sent again adds nothing twice.
    """
    batch, size = list[Mapping[str, Any]](), 0
    for item in items:
        named = {"id": f"fb-{uuid4().hex}", **item}
        length = len(json.dumps(named).encode())
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
            yield _feedback(batch)
            batch, size = [], 0
        batch.append(named)
        size += length
    if batch:
        yield _feedback(batch)


def _feedback(batch: list[Mapping[str, Any]]) -> Call:
    return Call("gateway", "POST", "/v1/feedback", batch, repeatable=True)


def take_back(feedback_id: str) -> Call:
    """Take back feedback by its id."""
    return Call("gateway", "DELETE", f"/v1/feedback/{_part(feedback_id)}", repeatable=True)


def take_back_of(interaction_id: str, user: str) -> Call:
    """Take back what a user said about an interaction."""
    body = {"interaction_id": interaction_id, "user": user}
    return Call("gateway", "DELETE", "/v1/feedback", body, repeatable=True)


def read(path: str, **query: Any) -> Call:
    """Read something of control's. Parameters that are None are left out."""
    return Call("control", "GET", path, query={k: v for k, v in query.items() if v is not None}, repeatable=True)


def act(path: str, **body: Any) -> Call:
    """Let control do something. Values that are None are left out."""
    return Call("control", "POST", path, {k: v for k, v in body.items() if v is not None})


def of_model(model: str, verb: str, **body: Any) -> Call:
    """Let control do something with a model."""
    return act(f"/api/models/{_part(model)}/{verb}", **body)


def versions(model: str) -> Call:
    """Read the versions of a model."""
    return read(f"/api/models/{_part(model)}/versions")


def one(kind: str, identity: str) -> Call:
    """Read one run, promotion or erasure."""
    return read(f"/api/{kind}/{_part(identity)}")


def of_one(kind: str, identity: str, verb: str, **body: Any) -> Call:
    """Let control do something with one run or promotion."""
    return act(f"/api/{kind}/{_part(identity)}/{verb}", **body)


def preview_of_erasure(user: str, key: str | None) -> Call:
    """Read what an erasure would erase. The user is in the body, because proxies log addresses."""
    return replace(act("/api/erasures/preview", user=user, key=key), repeatable=True)


def _part(text: str) -> str:
    """A part of a path. Raises InputError for a text that would be another path."""
    if text in ("", ".", ".."):
        raise InputError(f"{text!r} is no id and no name.")
    return quote(str(text), safe="")
