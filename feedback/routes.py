"""The feedback routes of the gateway. A vote is acknowledged only after it is on the disk."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.params import Depends
from fastapi.responses import JSONResponse

from core.api_keys import Scope
from core.clock import Clock
from core.errors import InputError
from core.http import AuthorizedRequest, error_object, parse_json_with_any_text, read_json, refusal
from core.record_codec import encode, encode_all
from core.records import Feedback, Revocation
from core.route_list import RouteList
from core.spool import SpoolWriter
from feedback.schema import StoredIdentifier, own_id, parse_each, parse_of_user

MAX_BODY_BYTES = 4 * 1024 * 1024
SOME_FAILED = 207


def create_router(
    *, spool: SpoolWriter, clock: Clock, acknowledged: Callable[[Feedback], None], givers: Depends, revokers: Depends
) -> RouteList:
    """`POST /v1/feedback`, `DELETE /v1/feedback/{id}` and `DELETE /v1/feedback`, answered once the disk has them.

    A key takes back what it gave itself; one of `ops:write` anything, by the id that the store has.
    """
    router = RouteList()

    @router.post("/v1/feedback", status_code=202, dependencies=[givers])
    async def give(request: Request) -> Response:
        body = await read_json(request, MAX_BODY_BYTES, parse_json_with_any_text)
        giver = admission_of(request)
        found = parse_each(body, clock, giver.key_id, reviewer=giver.opens(Scope.OPS_WRITE))
        await keep(spool, [each for each in found if isinstance(each, Feedback)], acknowledged)
        return _answer(found, giver.key_id, is_list=isinstance(body, list))

    @router.delete("/v1/feedback", status_code=202, dependencies=[revokers])
    async def revoke_of_user(request: Request) -> dict[str, str]:
        body = await read_json(request, MAX_BODY_BYTES, parse_json_with_any_text)
        asker, meant = admission_of(request), parse_of_user(body)
        key_id = None if asker.opens(Scope.OPS_WRITE) else asker.key_id
        record = Revocation("", clock(), key_id, asker.key_id, meant.interaction_id, meant.user)
        await spool.durable(spool.append(encode(record)))
        return {"interaction_id": meant.interaction_id}

    # An id may have slashes in it, which a server sees even if the client has sent them as %2F.
    @router.delete("/v1/feedback/{feedback_id:path}", status_code=202, dependencies=[revokers])
    async def revoke(feedback_id: StoredIdentifier, request: Request) -> dict[str, str]:
        asker = admission_of(request)
        key_id = None if asker.opens(Scope.OPS_WRITE) else asker.key_id
        await spool.durable(spool.append(encode(Revocation(feedback_id, clock(), key_id, asker.key_id))))
        return {"feedback_id": feedback_id}

    return router


async def keep(spool: SpoolWriter, records: Sequence[Feedback], acknowledged: Callable[[Feedback], None]) -> None:
    """Write feedback to the disk. It is there once this returns, and each `acknowledged` call is made after that."""
    if not records:
        return
    # One frame: a batch that met a full disk or a kill half-way would otherwise be there in part,
    # and sent again.
    await spool.durable(spool.append(encode_all(records) if len(records) > 1 else encode(records[0])))
    for record in records:
        acknowledged(record)


def admission_of(request: Request) -> AuthorizedRequest:
    """The key that a request was let in with."""
    return request.state.admission


def _answer(found: Sequence[Feedback | InputError], key_id: str, *, is_list: bool) -> Response:
    """One result per object. The status says whether all, some or none of them are on the disk."""
    results: list[dict[str, Any]] = [_result(each, key_id) for each in found]
    errors = [each for each in found if isinstance(each, InputError)]
    if errors and len(errors) == len(found):
        return refusal(errors[0], {"results": results} if is_list else None)
    return JSONResponse(results if is_list else results[0], SOME_FAILED if errors else 202)


def _result(each: Feedback | InputError, key_id: str) -> dict[str, Any]:
    if isinstance(each, Feedback):
        return {"feedback_id": own_id(key_id, each.id)}
    return {"error": error_object(each.status, str(each), code=each.code, field=each.field)}
