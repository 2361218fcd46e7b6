"""Control's side of the Responses API: find and delete responses, and continue from them, for the key that asks.

Only gateways call it, and they say which key asks.
"""

import json
from typing import Annotated, Any, Literal

from core.db.store import Row
from core.route_list import RouteList
from serve.responses.items import Message, to_messages
from serve.stored_completions.store import One, Parts, StoredAnswers, body_of


class Items(Parts):
    """A page of the items of a response's request."""

    order: Literal["asc", "desc"] = "desc"


class ResponseStore(StoredAnswers):
    """The stored responses. Each is a row of the stored completions, with the items of its request."""

    name = "response"
    hint = "Requests with `store: false` are not stored, and only their own key can read the others."
    responses = True

    def get(self, asked: One) -> Row:
        """One response. Raises NotFound."""
        return self._kept(asked)["response"]

    def items(self, asked: Items) -> Row:
        """A page of the items that a response answers. Raises NotFound, also for an `after` that is not there."""
        return self._page(self._kept(asked)["input"], asked)

    def messages(self, asked: One) -> Row:
        """The messages of a chat up to the end of a response, without its instructions. Raises NotFound."""
        row = self._row(asked)
        kept = json.loads(row["completion"])
        return {"messages": messages_until(json.loads(row["request"] or "{}"), kept["response"])}

    def delete(self, asked: One) -> Row:
        """Deletes a response. Raises NotFound."""
        self._delete(asked)
        return {"id": asked.id, "object": "response", "deleted": True}

    def _kept(self, asked: One | Items) -> dict[str, Any]:
        return json.loads(self._row(asked)["completion"])


def messages_until(request: dict[str, Any], response: dict[str, Any]) -> list[Message]:
    """The messages of a chat's request and of the response to it. Instructions are those of each request alone."""
    messages: list[Message] = request.get("messages") or []
    asked = messages[1:] if response["instructions"] else messages
    return [*asked, *to_messages(response["output"], "output")]


def create_router(store: ResponseStore) -> RouteList:
    """What gateways ask; each body says on whose behalf."""
    router = RouteList(prefix="/internal/responses")

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
