"""Control's side of stored completions: find, list, change and delete them for the key that stored them.

Only gateways call it, and they say which key asks.
"""

import json
from typing import Annotated, Any, Literal

from fastapi import Depends
from pydantic import BaseModel, Field

from core.clock import Clock, utc_now
from core.db import interactions, stored_completions
from core.db.store import Store
from core.errors import NotFound
from core.http import JsonBody
from core.route_list import RouteList

Row = dict[str, Any]
Page = dict[str, Any]

# A key may be limited to a thousand models, and a question names all of them.
LARGEST_QUESTION = 256 * 1024
# What a request said that OpenAI shows with its completion.
SHOWN = (
    "temperature",
    "top_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "tool_choice",
    "tools",
    "response_format",
)


class Asker(BaseModel):
    """The completions that may be read: of one key and some models. null means all keys or all models."""

    owner: str | None
    models: list[str] | None


class One(Asker):
    """One completion."""

    id: str


class Paged(Asker):
    """A page: how many, after which, in which order of time."""

    limit: int = Field(ge=1, le=100)
    after: str | None = None
    order: Literal["asc", "desc"] = "asc"


class Listed(Paged):
    """A page of completions, of one model and with such metadata."""

    model: str | None = None
    metadata: dict[str, str] = {}


class Parts(Paged):
    """A page of what belongs to one answer, such as the messages of its request."""

    id: str


class Changed(One):
    """A completion and the metadata that it is to have."""

    metadata: dict[str, str]


class StoredAnswers:
    """The stored answers of one API, for the key that asks. Another key gets NotFound: nobody learns what is there."""

    name: str
    hint: str
    responses = False

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    def _row(self, asked: One | Parts) -> Row:
        row = stored_completions.find(
            self._store, id=asked.id, owner=asked.owner, models=asked.models, responses=self.responses
        )
        if row is None:
            raise self._unknown(asked.id)
        return row

    def _delete(self, asked: One) -> None:
        """Deletes an answer, and the text of its interaction with it: no later snapshot can learn from it."""
        with self._store.transaction() as transaction:
            self._row(asked)
            stored_completions.delete(transaction, id=asked.id, time=self._clock())
            interactions.delete_text(transaction, id=asked.id)

    def _page(self, found: list[Row], asked: Parts) -> Page:
        """A page of what belongs to one answer. Raises NotFound for an `after` that is not there."""
        if asked.order == "desc":
            found = found[::-1]
        begin = 0
        if asked.after is not None:
            names = [each["id"] for each in found]
            if asked.after not in names:
                raise self._unknown(asked.after)
            begin = names.index(asked.after) + 1
        return page_of(found[begin : begin + asked.limit + 1], asked.limit)

    def _unknown(self, identity: str) -> NotFound:
        return NotFound(self.name, identity, hint=self.hint)


class CompletionStore(StoredAnswers):
    """The stored completions."""

    name = "stored completion"
    hint = "Only requests with `store: true` are stored, and only their own key can read them."

    def get(self, asked: One) -> Row:
        """One completion. Raises NotFound."""
        return _completion(self._row(asked))

    def page(self, asked: Listed) -> Page:
        """Completions by time. Raises NotFound for an `after` that never was."""
        sign, place = 1 if asked.order == "asc" else -1, None
        if asked.after is not None:
            place = stored_completions.position(self._store, id=asked.after, owner=asked.owner, sign=sign)
            if place is None:
                raise self._unknown(asked.after)
        rows = stored_completions.page(
            self._store,
            owner=asked.owner,
            models=asked.models,
            model=asked.model,
            sign=sign,
            place=place,
            metadata=json.dumps(asked.metadata),
            after=asked.after,
            limit=asked.limit + 1,
        )
        return page_of([_completion(row) for row in rows], asked.limit)

    def messages(self, asked: Parts) -> Page:
        """The messages that a completion answers. Raises NotFound, also for an `after` that is not there."""
        request = json.loads(self._row(asked)["request"] or "{}")
        messages = enumerate(request.get("messages") or ())
        return self._page([_message(asked.id, n, message) for n, message in messages], asked)

    def change(self, asked: Changed) -> Row:
        """Gives a completion other metadata. Raises NotFound."""
        with self._store.transaction() as transaction:
            self._row(asked)
            stored_completions.set_metadata(transaction, id=asked.id, metadata=json.dumps(asked.metadata))
        return self.get(asked)

    def delete(self, asked: One) -> Row:
        """Deletes a completion. Raises NotFound."""
        self._delete(asked)
        return {"id": asked.id, "object": "chat.completion.deleted", "deleted": True}


def _completion(row: Row) -> Row:
    request = json.loads(row["request"] or "{}")
    kept = json.loads(row["completion"])
    return (
        {name: request.get(name) for name in SHOWN}
        | {"service_tier": None, "system_fingerprint": None}
        | kept
        | {
            "id": row["id"],
            "object": "chat.completion",
            "request_id": row["id"],
            "input_user": row["user_id"],
            "metadata": json.loads(row["metadata"]),
        }
    )


def _message(completion: str, number: int, message: Row) -> Row:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    return (
        {"name": None}
        | message
        | {
            "id": f"{completion}-{number}",
            "content": None if parts else content,
            "content_parts": parts,
        }
    )


def page_of(found: list[Row], limit: int) -> Page:
    """Return a page. `found` has one row more than the page if there are further rows."""
    shown = found[:limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, **ends, "has_more": len(found) > limit}


def body_of(model: type[Asker]) -> Any:
    """A dependency that reads the question of a gateway."""
    return Depends(JsonBody(model, LARGEST_QUESTION))


def create_router(store: CompletionStore) -> RouteList:
    """What gateways ask; each body says on whose behalf."""
    router = RouteList(prefix="/internal/completions")

    @router.post("/get")
    def get(asked: Annotated[One, body_of(One)]) -> Row:
        return store.get(asked)

    @router.post("/page")
    def page(asked: Annotated[Listed, body_of(Listed)]) -> Page:
        return store.page(asked)

    @router.post("/messages")
    def messages(asked: Annotated[Parts, body_of(Parts)]) -> Page:
        return store.messages(asked)

    @router.post("/change")
    def change(asked: Annotated[Changed, body_of(Changed)]) -> Row:
        return store.change(asked)

    @router.post("/delete")
    def delete(asked: Annotated[One, body_of(One)]) -> Row:
        return store.delete(asked)

    return router
