"""The feedback routes of the gateway. A vote is acknowledged only after it is on the disk."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.params import Depends
from fastapi.responses import JSONResponse

from core.api_keys import Scope
from core.clock import Clock
from core.http import AuthorizedRequest, read_json
from core.record_codec import encode, encode_all
from core.records import Revocation
from core.spool import SpoolWriter
from feedback.schema import StoredIdentifier, kept_id, own_id, parse

MAX_BODY_BYTES = 4 * 1024 * 1024


def create_router(
    *, spool: SpoolWriter, clock: Clock, count: Callable[[str], None], givers: Depends, revokers: Depends
) -> APIRouter:
    """`POST /v1/feedback` and `DELETE /v1/feedback/{id}`, answered once the disk has them.

    A key takes back what it gave itself; one of `ops:write` anything, by the id that the store has.
    """
    router = APIRouter()

    @router.post("/v1/feedback", status_code=202, dependencies=[givers])
    async def give(request: Request) -> JSONResponse:
        body = await read_json(request, MAX_BODY_BYTES)
        key_id = _admission(request).key_id
        records = parse(body, clock, key_id)
        # One frame: a batch that met a full disk or a kill half-way would otherwise be there in part,
        # and sent again.
        await spool.durable(spool.append(encode_all(records) if len(records) > 1 else encode(records[0])))
        for record in records:
            count(record.type)
        ids: list[dict[str, Any]] = [{"feedback_id": own_id(key_id, record.id)} for record in records]
        return JSONResponse(ids if isinstance(body, list) else ids[0], status_code=202)

    @router.delete("/v1/feedback/{feedback_id}", status_code=202, dependencies=[revokers])
    async def revoke(feedback_id: StoredIdentifier, request: Request) -> dict[str, str]:
        asker = _admission(request)
        key_id = asker.key_id
        named = Revocation(feedback_id, clock(), None if asker.opens(Scope.OPS_WRITE) else key_id)
        # The id is one that was made here, or one of the key's own.
        records = (named, Revocation(kept_id(key_id, feedback_id), named.time, key_id))
        await spool.durable(spool.append(encode_all(records)))
        return {"feedback_id": feedback_id}

    return router


def _admission(request: Request) -> AuthorizedRequest:
    return request.state.admission
