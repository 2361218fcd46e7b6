"""Ingest: spooled frames become rows, each exactly once.

It owns the offsets: rows and the offset behind them are committed together, so a piece that arrives twice
changes nothing. It must not judge what a row says.
"""

import asyncio
import logging
from dataclasses import asdict
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from core.records import Feedback, Interaction, Revocation
from core.spool import read_frames
from core.store import Store, Transaction
from core.wire import Record, decode

log = logging.getLogger(__name__)


def ingest(store: Store, spool: str, segment: int, offset: int, data: bytes) -> tuple[bool, int]:
    """(taken, offset): commits the whole frames of `data` if it begins where the last piece ended.

    Otherwise takes nothing and returns where it does end, in bytes from the segment's beginning.
    """
    with store.transaction() as transaction:
        known = transaction.rows("spool_offset", spool=spool, segment=segment)
        expected = known[0]["offset"] if known else 0
        if offset != expected:
            return False, expected
        end = 0
        records: list[Record] = []
        for payload, frame_end in read_frames(data):
            end = frame_end
            try:
                records.append(decode(payload))
            except (ValueError, KeyError, TypeError) as error:
                log.error("spool %s/%d: a frame before byte %d makes no record: %s", spool, segment, end, error)
        _insert(transaction, records)
        transaction.run("spool_advance", spool=spool, segment=segment, offset=offset + end)
        return True, offset + end


def _insert(transaction: Transaction, records: list[Record]) -> None:
    transaction.run_many("interaction_add", [_interaction(r) for r in records if isinstance(r, Interaction)])
    transaction.run_many("feedback_add", [_feedback(r) for r in records if isinstance(r, Feedback)])
    revoked = [r for r in records if isinstance(r, Revocation)]
    transaction.run_many("revocation_add", [{"feedback_id": r.feedback_id, "time": r.time} for r in revoked])
    if revoked or any(isinstance(r, Feedback) for r in records):
        transaction.run("feedback_apply_revocations")


def _interaction(record: Interaction) -> dict[str, Any]:
    request = orjson.dumps(record.request).decode() if record.request is not None else None
    return asdict(record) | {"request": request}


def _feedback(record: Feedback) -> dict[str, Any]:
    plain = {"value": orjson.dumps(record.value).decode(), "metadata": orjson.dumps(record.metadata).decode()}
    return asdict(record) | plain


def create_router(store: Store) -> APIRouter:
    """Where gateways ship their segments to."""
    router = APIRouter()

    @router.post("/internal/spool/{spool}/{segment}")
    async def take(spool: str, segment: int, offset: int, request: Request) -> JSONResponse:
        data = await request.body()
        taken, end = await asyncio.to_thread(ingest, store, spool, segment, offset, data)
        return JSONResponse({"offset": end}, status_code=200 if taken else 409)

    return router
