"""Ingest: turn spooled frames into rows, each exactly once.

Rows and the offset behind them are committed together, so a piece that arrives twice changes nothing. A record that
the store rejects becomes a dead letter.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from core.clock import Clock, utc_now
from core.db import feedback, interactions, spools, stored_completions
from core.db.store import Store, Transaction
from core.errors import RowRefused
from core.record_codec import Record, decode_all
from core.records import Feedback, Interaction, Revocation, StoredCompletion
from core.spool import read_frames

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole frames of a segment, each as its payload and where it ends in bytes from the piece's beginning."""

    spool: str
    segment: int
    offset: int
    frames: list[tuple[bytes, int]]

    @property
    def end(self) -> int:
        """Where the piece ends in bytes from the segment's beginning."""
        return self.offset + (self.frames[-1][1] if self.frames else 0)

    def halves(self) -> tuple["Piece", "Piece"]:
        """The piece as two that follow each other."""
        middle = len(self.frames) // 2
        cut = self.frames[middle - 1][1]
        later = [(payload, end - cut) for payload, end in self.frames[middle:]]
        return replace(self, frames=self.frames[:middle]), replace(self, offset=self.offset + cut, frames=later)


def ingest(
    store: Store, spool: str, segment: int, offset: int, data: bytes, clock: Clock = utc_now
) -> tuple[bool, int]:
    """(taken, offset): commits the whole frames of `data` if it begins where the last piece ended.

    Otherwise takes nothing and returns where it does end, in bytes from the segment's beginning. A frame that
    makes no row is set aside as a dead letter, so that it neither stalls the others nor is lost.
    """
    return _take(store, Piece(spool, segment, offset, list(read_frames(data))), clock)


def _take(store: Store, piece: Piece, clock: Clock) -> tuple[bool, int]:
    def rows(transaction: Transaction) -> None:
        insert(transaction, [record for payload, _ in piece.frames for record in decode_all(payload)])

    def letter(transaction: Transaction) -> None:
        spools.add_dead_letter(
            transaction,
            spool=piece.spool,
            segment=piece.segment,
            offset=piece.offset,
            time=clock(),
            reason=reason,
            payload=piece.frames[0][0],
        )

    try:
        return _advance(store, piece, rows)
    except (RowRefused, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    if len(piece.frames) > 1:  # halves of halves find the one at fault; each is committed with its own offset
        first, second = piece.halves()
        taken, end = _take(store, first, clock)
        return _take(store, second, clock) if taken else (taken, end)
    # The reason may quote users, so it is written to the store only and not to the log.
    kind = reason.partition(":")[0]
    log.error("spool %s/%d: the frame at byte %d is set aside: %s", piece.spool, piece.segment, piece.offset, kind)
    return _advance(store, piece, letter)


def _advance(store: Store, piece: Piece, rows: Callable[[Transaction], None]) -> tuple[bool, int]:
    with store.transaction() as transaction:
        expected = spools.offset(transaction, spool=piece.spool, segment=piece.segment)
        if piece.offset != expected:
            return False, expected
        rows(transaction)
        spools.set_offset(transaction, spool=piece.spool, segment=piece.segment, offset=piece.end)
        return True, piece.end


def add(store: Store, records: Sequence[Record]) -> None:
    """Ingest records that control made. They are durable once this returns."""
    with store.transaction() as transaction:
        insert(transaction, records)


def insert(transaction: Transaction, records: Sequence[Record]) -> None:
    """Adds records; one that is known by its id already adds nothing."""
    asked = {record.id: record for record in reversed(records) if isinstance(record, Interaction)}
    added = interactions.add(transaction, [_interaction(record) for record in reversed(asked.values())])
    fresh = {id: asked[id] for id in added}
    _count(transaction, list(fresh.values()))
    stored_completions.add(transaction, [_stored(r) for r in records if isinstance(r, StoredCompletion)])
    said = {record.id: record for record in reversed(records) if isinstance(record, Feedback)}
    new = feedback.add(transaction, [_feedback(record) for record in reversed(said.values())])
    feedback.add_waiting(
        transaction,
        [
            feedback.WaitingFeedback(one.id, one.interaction_id)
            for one in new
            if one.interaction_id is not None and one.model is None
        ],
    )
    _join(transaction, fresh)
    _revoke(transaction, [r for r in records if isinstance(r, Revocation)], list(said))


def _count(transaction: Transaction, fresh: Sequence[Interaction]) -> None:
    """Adds new interactions to the traffic of their days."""
    days: dict[tuple[str, int, str, date], list[int]] = {}
    for record in fresh:
        key = (record.model, record.version, record.arm, record.time.astimezone(UTC).date())
        counts = days.setdefault(key, [0, 0, 0])
        counts[0] += 1
        counts[1] += record.status >= 500
        counts[2] += (record.prompt_tokens or 0) + (record.completion_tokens or 0)
    interactions.add_traffic(
        transaction,
        [
            {
                "model": model,
                "version": version,
                "arm": arm,
                "day": day,
                "requests": counts[0],
                "errors": counts[1],
                "tokens": counts[2],
            }
            for (model, version, arm, day), counts in days.items()
        ],
    )


def _join(transaction: Transaction, fresh: dict[str, Interaction]) -> None:
    """Tells feedback that came before its interaction what it is about."""
    about = [(one.id, fresh[one.interaction_id]) for one in feedback.waiting_for(transaction, ids=list(fresh))]
    feedback.set_interaction(
        transaction, [{"id": i, "model": r.model, "version": r.version, "arm": r.arm} for i, r in about]
    )
    feedback.delete_waiting(transaction, [id for id, _ in about])


def _revoke(transaction: Transaction, revoked: Sequence[Revocation], said: Sequence[str]) -> None:
    """Revoke feedback, even if the revocation arrived before it. The first revocation counts."""
    first = {(r.feedback_id, r.key_id or ""): r.time for r in reversed(revoked)}
    feedback.add_revocation(transaction, [{"feedback_id": i, "key_id": k, "time": t} for (i, k), t in first.items()])
    feedback.apply_revocations(transaction, ids=[*said, *(identity for identity, _ in first)])


def _interaction(record: Interaction) -> dict[str, Any]:
    return _row(record, request=None if record.request is None else _json(record.request))


def _stored(record: StoredCompletion) -> dict[str, Any]:
    return _row(record, metadata=_json(record.metadata), completion=_json(record.completion))


def _feedback(record: Feedback) -> dict[str, Any]:
    return _row(record, value=_json(record.value), metadata=_json(record.metadata))


def _row(record: Record, **plain: str | None) -> dict[str, Any]:
    # `asdict` would copy a whole request first.
    return {field.name: getattr(record, field.name) for field in fields(record)} | plain


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def create_router(store: Store) -> APIRouter:
    """Where gateways ship their segments to."""
    router = APIRouter()

    @router.post("/internal/spool/{spool}/{segment}")
    async def take(spool: str, segment: int, offset: int, request: Request) -> JSONResponse:
        data = await request.body()
        taken, end = await asyncio.to_thread(ingest, store, spool, segment, offset, data)
        return JSONResponse({"offset": end}, status_code=200 if taken else 409)

    return router
