"""The feedback routes of the gateway.

It owns the promise that an acknowledged vote is on the disk; what becomes of it is control's business.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from core.clock import Clock
from core.http import read_json
from core.records import Revocation
from core.spool import SpoolWriter
from core.wire import encode, encode_all
from feedback.signals import Identifier, parse

MAX_BODY_BYTES = 4 * 1024 * 1024


def create_router(*, spool: SpoolWriter, clock: Clock, count: Callable[[str], None]) -> APIRouter:
    """`POST /v1/feedback` and `DELETE /v1/feedback/{id}`, answered once the disk has them."""
    router = APIRouter()

    @router.post("/v1/feedback", status_code=202)
    async def give(request: Request) -> JSONResponse:
        body = await read_json(request, MAX_BODY_BYTES)
        records = parse(body, clock)
        # One frame: a batch that met a full disk or a kill half-way would otherwise be there in part,
        # and sent again.
        await spool.durable(spool.append(encode_all(records) if len(records) > 1 else encode(records[0])))
        for record in records:
            count(record.type)
        ids: list[dict[str, Any]] = [{"feedback_id": record.id} for record in records]
        return JSONResponse(ids if isinstance(body, list) else ids[0], status_code=202)

    @router.delete("/v1/feedback/{feedback_id}", status_code=202)
    async def revoke(feedback_id: Identifier) -> dict[str, str]:
        await spool.durable(spool.append(encode(Revocation(feedback_id, clock()))))
        return {"feedback_id": feedback_id}

    return router
