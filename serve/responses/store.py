"""Control's side of the Responses API: find and delete responses, and continue from them, for the key that asks.

Only gateways call it, and they say which key asks.
"""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from core.clock import Clock, utc_now
from core.db import interactions, stored_completions
from core.db.store import Row, Store
from core.errors import NotFound
from serve.responses.items import Item, Message, to_messages
from serve.stored_completions.store import One, body_of, page_of


class Items(One):
    """A page of the items of a response's request."""

    limit: int = Field(ge=1, le=100)
    after: str | None = None
    order: Literal["asc", "desc"] = "desc"


class ResponseStore:
    """The stored responses. Each is a row of the stored completions, with the items of its request."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    def get(self, asked: One) -> Row:
        """One response. Raises NotFound, also for one of another key: nobody learns that it is there."""
        return self._kept(asked)["response"]

    def items(self, asked: Items) -> Row:
        """A page of the items that a response answers. Raises NotFound, also for an `after` that is not there."""
        found: list[Item] = self._kept(asked)["input"]
        if asked.order == "desc":
            found = found[::-1]
        begin = 0
        if asked.after is not None:
            names = [item["id"] for item in found]
            if asked.after not in names:
                raise _unknown(asked.after)
            begin = names.index(asked.after) + 1
        return page_of(found[begin : begin + asked.limit + 1], asked.limit)

    def messages(self, asked: One) -> Row:
        """The messages of a chat up to the end of a response, without its instructions. Raises NotFound."""
        row = self._row(asked)
        kept = json.loads(row["completion"])
        return {"messages": messages_until(json.loads(row["request"] or "{}"), kept["response"])}

    def delete(self, asked: One) -> Row:
        """Deletes a response, and the text of its interaction with it: no later snapshot can learn from it."""
        with self._store.transaction() as transaction:
            self._row(asked)
            stored_completions.delete(transaction, id=asked.id, time=self._clock())
            interactions.delete_text(transaction, id=asked.id)
        return {"id": asked.id, "object": "response", "deleted": True}

    def _kept(self, asked: One) -> dict[str, Any]:
        return json.loads(self._row(asked)["completion"])

    def _row(self, asked: One) -> Row:
        row = stored_completions.find(self._store, id=asked.id, owner=asked.owner, models=asked.models, responses=True)
        if row is None:
            raise _unknown(asked.id)
        return row


def messages_until(request: dict[str, Any], response: dict[str, Any]) -> list[Message]:
    """The messages of a chat's request and of the response to it. Instructions are those of each request alone."""
    messages: list[Message] = request.get("messages") or []
    asked = messages[1:] if response["instructions"] else messages
    return [*asked, *to_messages(response["output"], "output")]


def _unknown(identity: str) -> NotFound:
    return NotFound(
        "response",
        identity,
        hint="Requests with `store: false` are not stored, and only their own key can read the others.",
    )


def create_router(store: ResponseStore) -> APIRouter:
    """What gateways ask; each body says on whose behalf."""
    router = APIRouter(prefix="/internal/responses")

    @router.post("/get")
    def get(asked: Annotated[One, body_of(One)]) -> Row:
        return store.get(asked)

    @router.post("/items")
    def items(asked: Annotated[Items, body_of(Items)]) -> Row:
        return store.items(asked)

    @router.post("/messages")
    def messages(asked: Annotated[One, body_of(One)]) -> Row:
        return store.messages(asked)

    @router.post("/delete")
    def delete(asked: Annotated[One, body_of(One)]) -> Row:
        return store.delete(asked)

    return router
