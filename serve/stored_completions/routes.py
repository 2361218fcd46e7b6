"""OpenAI's routes for stored completions on the gateway. Control answers them."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import aiohttp
from fastapi import Depends, Query, Request, Response
from fastapi.params import Depends as Dependency

from core.api_keys import Scope
from core.errors import ControlDown, InputError
from core.http import read_json
from core.route_list import RouteList
from serve.gateway.authentication import RequestPermit
from serve.stored_completions.metadata import checked_metadata

# How long control may take, and how long a question waits until control has what was spooled before it.
ANSWER_SECONDS = 10.0
SHIPPED_SECONDS = 2.0
LARGEST_CHANGE = 64 * 1024
PAIR = re.compile(r"metadata\[(.*)\]", re.DOTALL)

Limit = Annotated[int, Query(ge=1, le=100)]
# Has control ingest what was spooled, with a limit in seconds; returns whether it has.
Flush = Callable[[float], Awaitable[bool]]
After = Annotated[str | None, Query(max_length=256)]
Order = Literal["asc", "desc"]


class StoredCompletions:
    """Asks control, on behalf of the key that asks us. `path` is that of control's routes for them."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        control_url: str,
        key: str,
        flush: Flush,
        path: str = "/internal/completions",
    ) -> None:
        self._session = session
        self._url = f"{control_url}{path}"
        self._headers = {"Authorization": f"Bearer {key}"}
        self._flush = flush

    async def ask(self, what: str, request: Request, others: Scope, **asked: Any) -> Response:
        """Control's answer to a request. See `fetch`."""
        status, content = await self.fetch(what, request.state.admission, others, **asked)
        return Response(content, status, media_type="application/json")

    async def fetch(self, what: str, admission: RequestPermit, others: Scope, **asked: Any) -> tuple[int, bytes]:
        """(status, body) of control; a key with the scope `others` may see those of all keys. Raises ControlDown.

        Control first ingests what this gateway answered before, so that an app finds what it has just stored.
        """
        asker = {"owner": None if admission.opens(others) else admission.key_id, "models": admission.models}
        complete = await self._flush(SHIPPED_SECONDS)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with self._session.post(
                f"{self._url}/{what}", json=asker | asked, headers=self._headers, timeout=timeout
            ) as response:
                content, status = await response.read(), response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _down() from error
        if status not in (200, 404) or (status == 404 and not complete):
            raise _down()
        return status, content


def create_router(stored: StoredCompletions, reading: Dependency, changing: Dependency) -> RouteList:
    """Return the routes under `/v1/chat/completions`, with the access checks for reading and changing."""
    router = RouteList(prefix="/v1/chat/completions")
    read, write = Scope.OPS_READ, Scope.OPS_WRITE

    @router.get("", dependencies=[reading])
    async def listed(
        request: Request,
        limit: Limit = 20,
        after: After = None,
        order: Order = "asc",
        model: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Response:
        return await stored.ask(
            "page", request, read, limit=limit, after=after, order=order, model=model, metadata=_wanted(request)
        )

    @router.get("/{completion_id}", dependencies=[reading])
    async def one(request: Request, completion_id: str) -> Response:
        return await stored.ask("get", request, read, id=completion_id)

    @router.get("/{completion_id}/messages", dependencies=[reading])
    async def messages(
        request: Request, completion_id: str, limit: Limit = 20, after: After = None, order: Order = "asc"
    ) -> Response:
        return await stored.ask("messages", request, read, id=completion_id, limit=limit, after=after, order=order)

    @router.post("/{completion_id}", dependencies=[changing])
    async def change(
        request: Request, completion_id: str, metadata: Annotated[dict[str, str], Depends(_changed)]
    ) -> Response:
        return await stored.ask("change", request, write, id=completion_id, metadata=metadata)

    @router.delete("/{completion_id}", dependencies=[changing])
    async def delete(request: Request, completion_id: str) -> Response:
        return await stored.ask("delete", request, write, id=completion_id)

    return router


async def _changed(request: Request) -> dict[str, str]:
    """The metadata in a body that holds nothing else. Raises InputError."""
    body = await read_json(request, LARGEST_CHANGE)
    if not isinstance(body, dict) or set(body) != {"metadata"}:
        raise InputError("Only metadata can be changed.", hint='Send {"metadata": {…}} and nothing else.')
    return checked_metadata(body["metadata"])


def _wanted(request: Request) -> dict[str, str]:
    """The pairs of `metadata[name]=value` in the query."""
    pairs = ((PAIR.fullmatch(name), value) for name, value in request.query_params.multi_items())
    return checked_metadata({found[1]: value for found, value in pairs if found})


def _down() -> ControlDown:
    return ControlDown(
        "Stored completions and responses are with control, which does not answer.",
        hint="New ones go on and are stored; try again after the time in Retry-After.",
    )
