"""Ingest: turn spooled frames into rows, each exactly once.

Rows and the offset behind them are committed together, so a piece that arrives twice changes nothing. A record that
the store refuses becomes a dead letter, and so do bytes that are no frame.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from core.clock import Clock, utc_now
from core.db import feedback, interactions, spools, stored_completions
from core.db.feedback import WaitingFeedback
from core.db.interactions import Served
from core.db.rows import (
    FeedbackRow,
    InteractionRow,
    RevocationRow,
    SpoolRow,
    StoredCompletionRow,
    decode_rows,
    rows_of,
    utc,
)
from core.db.store import Store, Transaction
from core.errors import RowKnown, RowRefused
from core.record_codec import Record
from core.spool import Frame, read_frames

log = logging.getLogger(__name__)

# Pieces that are in memory at once. Each is up to 16 MB and needs some three times that while it becomes rows.
PIECES_AT_ONCE = 4
DAMAGED = "Damaged: the bytes are no whole frame"


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a piece: whether it was taken, how far its segment is read now, and damaged ranges in it."""

    taken: bool
    offset: int
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of a segment in order. `base` is where their positions count from in bytes, `begin` and `end` where the
    piece begins and ends, both from the segment's beginning."""

    spool: str
    segment: int
    base: int
    begin: int
    end: int
    frames: Sequence[Frame]
    damaged: Sequence[Frame]

    def halves(self) -> tuple["Piece", "Piece"]:
        """The piece as two that follow each other."""
        middle = len(self.frames) // 2
        cut = self.base + self.frames[middle - 1].end
        before = [gap for gap in self.damaged if self.base + gap.end <= cut]
        first = replace(self, end=cut, frames=self.frames[:middle], damaged=before)
        return first, replace(self, begin=cut, frames=self.frames[middle:], damaged=self.damaged[len(before) :])


class Batch:
    """Rows of a piece by kind. Those with an id are in a dictionary by it: of several with one id the first counts.

    The table of interactions is made here, outside of the transaction, so that others can write at the same time.
    """

    def __init__(self, rows: Iterable[SpoolRow]) -> None:
        self.asked: dict[str, InteractionRow] = {}
        self.stored: dict[str, StoredCompletionRow] = {}
        self.said: dict[str, FeedbackRow] = {}
        self.revoked: list[RevocationRow] = []
        for row in rows:
            match row:
                case InteractionRow():
                    self.asked.setdefault(row.id, row)
                case FeedbackRow():
                    self.said.setdefault(row.id, row)
                case StoredCompletionRow():
                    self.stored.setdefault(row.id, row)
                case RevocationRow():
                    self.revoked.append(row)
        self.interactions = interactions.table_of(self.asked.values())

    def without_known(self, transaction: Transaction) -> "Batch":
        """The batch without the rows whose ids are stored. Revocations of feedback that is known stay."""
        asked = interactions.served(transaction, list(self.asked))
        stored = stored_completions.known(transaction, list(self.stored))
        said = feedback.known(transaction, list(self.said))
        return Batch(
            [
                *(row for row in self.asked.values() if row.id not in asked),
                *(row for row in self.stored.values() if row.id not in stored),
                *(row for row in self.said.values() if row.id not in said),
                *self.revoked,
            ]
        )


def ingest(
    store: Store,
    spool: str,
    segment: int,
    offset: int,
    data: bytes,
    clock: Clock = utc_now,
    *,
    finished: bool = False,
) -> Ingested:
    """Commit the whole frames of `data` if it begins where the last piece ended; otherwise take nothing.

    `finished` says that the data reaches the end of a segment that is no longer written. A frame that makes no row,
    and bytes that are no frame, are set aside as dead letters, so that they neither stall the others nor are lost.
    """
    found = read_frames(data, finished=finished)
    damaged = [Frame(data[gap.start : gap.stop], gap.start, gap.stop) for gap in found.damaged]
    piece = Piece(spool, segment, offset, offset, offset + found.end, found.whole, damaged)
    ingested = _take(store, piece, clock)
    return replace(ingested, damaged=len(damaged)) if ingested.taken else ingested


def _take(store: Store, piece: Piece, clock: Clock) -> Ingested:
    """Commit a piece. Where a frame cannot become rows, halves of halves find it; each is committed with its end."""
    try:
        batch = Batch(row for frame in piece.frames for row in decode_rows(frame.payload))
        return _commit(store, piece, batch, clock)
    except RowRefused as error:
        reason = f"{type(error).__name__}: {error}"
    if len(piece.frames) > 1:
        first, second = piece.halves()
        taken = _take(store, first, clock)
        return _take(store, second, clock) if taken.taken else taken
    # The reason may quote users, so it is written to the store only and not to the log.
    kind = reason.partition(":")[0]
    log.error("spool %s/%d: the frame at byte %d is set aside: %s", piece.spool, piece.segment, piece.begin, kind)
    return _advance(store, piece, lambda transaction: _set_aside(transaction, piece, piece.frames, reason, clock))


def _commit(store: Store, piece: Piece, batch: Batch, clock: Clock) -> Ingested:
    """Commit rows, at first as if none of them were stored: looking for an id costs more than adding its row."""

    def write(transaction: Transaction, *, all_new: bool) -> None:
        insert_batch(transaction, batch, all_new=all_new)
        _set_aside(transaction, piece, piece.damaged, DAMAGED, clock)

    try:
        return _advance(store, piece, lambda transaction: write(transaction, all_new=True))
    except RowKnown:
        return _advance(store, piece, lambda transaction: write(transaction, all_new=False))


def _advance(store: Store, piece: Piece, write: Callable[[Transaction], None]) -> Ingested:
    with store.transaction() as transaction:
        expected = spools.offset(transaction, spool=piece.spool, segment=piece.segment)
        if piece.begin != expected:
            return Ingested(False, expected)
        write(transaction)
        spools.set_offset(transaction, spool=piece.spool, segment=piece.segment, offset=piece.end)
        return Ingested(True, piece.end)


def _set_aside(transaction: Transaction, piece: Piece, frames: Sequence[Frame], reason: str, clock: Clock) -> None:
    for frame in frames:
        spools.add_dead_letter(
            transaction,
            spool=piece.spool,
            segment=piece.segment,
            offset=piece.base + frame.begin,
            time=clock(),
            reason=reason,
            payload=frame.payload,
        )


def add(store: Store, records: Sequence[Record]) -> None:
    """Ingest records that control made. They are durable once this returns."""
    with store.transaction() as transaction:
        insert(transaction, records)


def insert(transaction: Transaction, records: Sequence[Record]) -> None:
    """Add records; one that is known by its id already adds nothing."""
    insert_batch(transaction, Batch(rows_of(records)))


def insert_batch(transaction: Transaction, batch: Batch, *, all_new: bool = False) -> None:
    """Add rows; one that is known by its id already adds nothing.

    With `all_new` no id is looked up: RowKnown is raised if one is stored, and the transaction can only be rolled
    back. The cost grows with the rows and, for each lookup, with the logarithm of the table.
    """
    said = list(batch.said)
    if not all_new:
        batch = batch.without_known(transaction)
    interactions.add(transaction, batch.interactions)
    stored_completions.add(transaction, list(batch.stored.values()))
    _add_feedback(transaction, batch.said)
    _join(transaction, batch.asked)
    _revoke(transaction, batch.revoked, said)


def _add_feedback(transaction: Transaction, said: Mapping[str, FeedbackRow]) -> None:
    """Add feedback with the version that it is about; what arrived before its interaction waits."""
    named = {row.interaction_id for row in said.values() if row.interaction_id is not None}
    about = interactions.served(transaction, list(named))
    feedback.add(transaction, list(said.values()), about)
    feedback.add_waiting(
        transaction,
        [
            WaitingFeedback(row.id, row.interaction_id)
            for row in said.values()
            if row.interaction_id is not None and row.interaction_id not in about
        ],
    )


def _join(transaction: Transaction, asked: Mapping[str, InteractionRow]) -> None:
    """Fill in the version of feedback that waited for these interactions."""
    by_version: defaultdict[Served, list[str]] = defaultdict(list)
    for waiting in feedback.waiting_for(transaction, list(asked)):
        row = asked[waiting.interaction_id]
        by_version[Served(row.model, row.version, row.arm)].append(waiting.id)
    for served, ids in by_version.items():
        feedback.set_interaction(transaction, ids, served)


def _revoke(transaction: Transaction, revoked: Sequence[RevocationRow], said: Sequence[str]) -> None:
    """Revoke feedback, even if the revocation arrived before it. The first revocation counts."""
    first = {(row.feedback_id, row.key_id or ""): utc(row.time) for row in reversed(revoked)}
    feedback.add_revocation(transaction, [{"feedback_id": i, "key_id": k, "time": t} for (i, k), t in first.items()])
    feedback.apply_revocations(transaction, ids=[*said, *(identity for identity, _ in first)])


def create_router(store: Store) -> APIRouter:
    """Where gateways ship their segments to."""
    router = APIRouter()
    places = asyncio.Semaphore(PIECES_AT_ONCE)

    @router.post("/internal/spool/{spool}/{segment}")
    async def take(spool: str, segment: int, offset: int, request: Request, finished: bool = False) -> JSONResponse:
        async with places:
            data = await request.body()
            found = await asyncio.to_thread(ingest, store, spool, segment, offset, data, finished=finished)
        answer = {"offset": found.offset, "damaged": found.damaged}
        return JSONResponse(answer, status_code=200 if found.taken else 409)

    return router
