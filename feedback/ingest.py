"""Ingest: turn spooled frames into rows, each exactly once.

Rows and the offset behind them are committed together, so a piece that arrives twice changes nothing. A record that
the store refuses becomes a dead letter, and so do bytes that are no frame.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace

from fastapi import Request
from fastapi.responses import JSONResponse

from core.clock import Clock, utc_now
from core.db import feedback, interactions, quarantines, spools, stored_completions
from core.db.feedback import WaitingFeedback, answer_key, compared, conversation_key, subject_of
from core.db.interactions import Served
from core.db.rows import (
    FeedbackRow,
    InteractionRow,
    RevocationRow,
    SpoolRow,
    StoredCompletionRow,
    decode_rows,
    rows_of,
)
from core.db.store import Store, Transaction
from core.db.threads import BulkThreads
from core.errors import RowKnown, RowRefused
from core.record_codec import Record
from core.route_list import RouteList
from core.spool import Frame, read_frames
from feedback.last_word import Said, Settled, settle
from feedback.revocations import leave_out, revoke
from feedback.tombstones import without_erased

log = logging.getLogger(__name__)

# Pieces that are in memory at once. Each is up to 16 MB and needs some three times that while it becomes rows.
PIECES_AT_ONCE = 4
# Bytes of a piece above which it is cheaper to change DuckDB's threads, which takes 2 ms of CPU time, than not to.
BULK = 4 * 1024 * 1024
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

    Of feedback, the others with that id are in `said_again`: the last word counts.

    The table of interactions is made here, outside of the transaction, so that others can write at the same time.
    """

    def __init__(self, rows: Iterable[SpoolRow]) -> None:
        self.asked: dict[str, InteractionRow] = {}
        self.stored: dict[str, StoredCompletionRow] = {}
        self.said: dict[str, FeedbackRow] = {}
        self.said_again: list[FeedbackRow] = []
        self.revoked: list[RevocationRow] = []
        for row in rows:
            match row:
                case InteractionRow():
                    self.asked.setdefault(row.id, row)
                case FeedbackRow():
                    if self.said.setdefault(row.id, row) is not row:
                        self.said_again.append(row)
                case StoredCompletionRow():
                    self.stored.setdefault(row.id, row)
                case RevocationRow():
                    self.revoked.append(row)
        self.interactions = interactions.table_of(self.asked.values())

    @property
    def rows(self) -> list[SpoolRow]:
        """All rows."""
        said = [*self.said.values(), *self.said_again]
        return [*self.asked.values(), *self.stored.values(), *said, *self.revoked]

    def without_known(self, transaction: Transaction) -> "Batch":
        """The batch without the interactions and completions whose ids are stored. What was said may say it again."""
        asked = interactions.served(transaction, list(self.asked))
        stored = stored_completions.known(transaction, list(self.stored))
        return Batch(
            [
                *(row for row in self.asked.values() if row.id not in asked),
                *(row for row in self.stored.values() if row.id not in stored),
                *self.said.values(),
                *self.said_again,
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
        spool, segment = piece.spool, piece.segment
        if not spools.advance(transaction, spool=spool, segment=segment, begin=piece.begin, end=piece.end):
            return Ingested(False, spools.offset(transaction, spool=spool, segment=segment))
        write(transaction)
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
    kept = without_erased(transaction, batch.rows)
    batch = batch if kept is None else Batch(kept)
    said, settled = list(batch.said), Settled(batch.said)
    if not all_new:
        batch = batch.without_known(transaction)
    if not all_new or batch.said_again:
        settled = _settle(transaction, batch)
    interactions.add(transaction, batch.interactions)
    stored_completions.add(transaction, list(batch.stored.values()))
    _add_feedback(transaction, settled.add)
    joined, compared_now = _join(transaction, batch.asked)
    said += joined
    if said or compared_now:
        quarantines.hold_new(transaction)
    leave_out(transaction, said)
    about = {row.interaction_id for row in batch.said.values() if row.interaction_id} | batch.asked.keys()
    revoke(transaction, batch.revoked, said, list(settled.history), about)


def _settle(transaction: Transaction, batch: Batch) -> Settled:
    """The last word under each id. Feedback whose place it takes is deleted; the history has all that was said."""
    ids = list(batch.said)
    kept: defaultdict[str, list[Said]] = defaultdict(list)
    for row in feedback.history(transaction, ids):
        times = {name: row[name].replace(tzinfo=None) for name in ("first", "last")}
        kept[row["id"]].append(Said(**row | times))
    settled = settle([*batch.said.values(), *batch.said_again], feedback.current(transaction, ids), kept)
    feedback.replace(transaction, settled.replace)
    quarantines.let_go(transaction, settled.replace)
    rows = [asdict(each) for history in settled.history.values() for each in history]
    feedback.set_history(transaction, list(settled.history), rows)
    return settled


def _add_feedback(transaction: Transaction, said: Mapping[str, FeedbackRow]) -> None:
    """Add feedback with the version that it is about; what arrived before its interaction waits."""
    pairs = {row.id: compared(row) for row in said.values()}
    named = {row.interaction_id for row in said.values() if row.interaction_id is not None}
    about = interactions.served(transaction, list(named.union(*pairs.values())))
    talks = {row.conversation_id for row in said.values() if row.conversation_id is not None}
    for conversation, served in interactions.served_last(transaction, list(talks)).items():
        about[conversation_key(conversation)] = served
    feedback.add(transaction, list(said.values()), about)
    subjects = [(row.id, subject_of(row)) for row in said.values()]
    waiting = [WaitingFeedback(id, subject) for id, subject in subjects if subject and subject not in about]
    lacking = [WaitingFeedback(id, answer_key(one)) for id, pair in pairs.items() for one in pair if one not in about]
    feedback.add_waiting(transaction, waiting + lacking)


def _join(transaction: Transaction, asked: Mapping[str, InteractionRow]) -> tuple[list[str], list[str]]:
    """Fill in the version of feedback that waited for these interactions or their conversations.

    Returns its ids, and those of preferences that waited for one of these answers.
    """
    met = dict(asked)
    for row in sorted((row for row in asked.values() if row.conversation), key=lambda row: row.time):
        met[conversation_key(row.conversation or "")] = row
    answers = {answer_key(id): row for id, row in asked.items()}
    joined: dict[str, Served] = {}
    pairs: dict[str, None] = {}
    choices: dict[str, str | None] = {}
    for waiting in feedback.waiting_for(transaction, [*met, *answers]):
        if waiting.interaction_id in answers:
            pairs[waiting.id] = None
            answer = answers[waiting.interaction_id]
            choices[answer.id] = answer.user
            continue
        row = met[waiting.interaction_id]
        joined[waiting.id] = Served(row.model, row.version, row.arm, row.user)
    feedback.meet_answers(transaction, list(pairs), choices)
    feedback.set_interactions(transaction, joined)
    return list(joined), list(pairs)


def create_router(store: Store) -> RouteList:
    """Where gateways ship their segments to."""
    router = RouteList()
    places = asyncio.Semaphore(PIECES_AT_ONCE)
    threads = BulkThreads(store)

    def ingest_piece(spool: str, segment: int, offset: int, data: bytes, finished: bool) -> Ingested:
        with threads.one() if len(data) >= BULK else nullcontext():
            return ingest(store, spool, segment, offset, data, finished=finished)

    @router.post("/internal/spool/{spool}/{segment}")
    async def take(spool: str, segment: int, offset: int, request: Request, finished: bool = False) -> JSONResponse:
        async with places:
            data = await request.body()
            found = await asyncio.to_thread(ingest_piece, spool, segment, offset, data, finished)
        answer = {"offset": found.offset, "damaged": found.damaged}
        return JSONResponse(answer, status_code=200 if found.taken else 409)

    return router
