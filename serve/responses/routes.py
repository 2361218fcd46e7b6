"""The gateway's routes for stored responses. Control answers them."""

from typing import Annotated, Literal

import orjson
from fastapi import Query, Request, Response
from fastapi.params import Depends as Dependency

from core.api_keys import Scope
from core.errors import InputError, NotFound
from core.route_list import RouteList
from serve.gateway.authentication import RequestPermit
from serve.responses.items import Message
from serve.stored_completions.routes import After, Limit, StoredCompletions


class StoredResponses(StoredCompletions):
    """Asks control for responses, on behalf of the key that asks us."""

    async def messages(self, identity: str, permit: RequestPermit) -> list[Message]:
        """The messages up to the end of a response. Raises NotFound or ControlDown."""
        status, content = await self.fetch("messages", permit, Scope.OPS_READ, id=identity)
        if status != 200:
            raise NotFound(
                "response",
                identity,
                hint="previous_response_id names a response that this key stored: one without `store: false`.",
            )
        return orjson.loads(content)["messages"]


class NotInBackground(InputError):
    """A response that is not in the background cannot be cancelled."""

    status = 400


def create_router(stored: StoredResponses, reading: Dependency, changing: Dependency) -> RouteList:
    """Return the routes under `/v1/responses`, with the access checks for reading and changing."""
    router = RouteList(prefix="/v1/responses")
    read, write = Scope.OPS_READ, Scope.OPS_WRITE

    @router.get("/{response_id}", dependencies=[reading])
    async def one(request: Request, response_id: str, stream: bool = False) -> Response:
        if stream:
            raise InputError("stream: a stored response has no stream.", field="stream", hint="Leave it out.")
        return await stored.ask("get", request, read, id=response_id)

    @router.get("/{response_id}/input_items", dependencies=[reading])
    async def items(
        request: Request,
        response_id: str,
        limit: Limit = 20,
        after: After = None,
        order: Annotated[Literal["asc", "desc"], Query()] = "desc",
    ) -> Response:
        return await stored.ask("items", request, read, id=response_id, limit=limit, after=after, order=order)

    @router.post("/{response_id}/cancel", dependencies=[changing])
    async def cancel(request: Request, response_id: str) -> Response:
        found = await stored.ask("get", request, write, id=response_id)
        if found.status_code != 200:
            return found
        raise NotInBackground(
            "Only responses with `background: true` can be cancelled, and the gateway makes none.",
            hint="Close the connection of a request to end it.",
        )

    @router.delete("/{response_id}", dependencies=[changing])
    async def delete(request: Request, response_id: str) -> Response:
        return await stored.ask("delete", request, write, id=response_id)

    return router
