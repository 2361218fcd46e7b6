"""Dead letters: list, show, replay and drop the frames of spools that could not become rows.

A replay goes through the same ingest as a spool, so a record that is stored already adds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from core.db import spools
from core.db.rows import decode_rows
from core.db.spools import Position
from core.db.store import Database, Row, Store
from core.errors import NotFound, RowRefused
from feedback.ingest import Batch, insert_batch

# Characters of a letter's content that people are shown.
SHOWN = 20_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a dead letter: records that are stored now, records that are refused again, and the reason."""

    id: str
    stored: int
    refused: int
    reason: str = ""


def identity_of(at: Position) -> str:
    """The id of a dead letter: `gateway-1.1764153600000000.128`."""
    return f"{at.spool}.{at.segment}.{at.offset}"


def position_of(identity: str) -> Position:
    """The inverse of `identity_of`. Raises NotFound."""
    spool, _, rest = identity.partition(".")
    segment, _, offset = rest.partition(".")
    # Gateways never write a number with more digits.
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (segment, offset)):
        raise _unknown(identity)
    return Position(spool, int(segment), int(offset))


def _unknown(identity: str) -> NotFound:
    return NotFound("dead letter", identity, hint="See: loraloop dead-letters")


def newest(db: Database, limit: int) -> list[Row]:
    """The newest dead letters by id, without their content."""
    rows = spools.newest_dead_letters(db, limit=limit)
    return [{"id": identity_of(Position(row["spool"], row["segment"], row["offset"]))} | row for row in rows]


def show(db: Database, identity: str) -> Row:
    """One dead letter with its content as text. Raises NotFound."""
    row = _find(db, position_of(identity), identity)
    payload: bytes = row.pop("payload")
    content = payload.decode("utf-8", errors="replace")
    return {"id": identity} | row | {"bytes": len(payload), "content": content[:SHOWN]}


def _find(db: Database, at: Position, identity: str) -> Row:
    row = spools.dead_letter(db, at)
    if row is None:
        raise _unknown(identity)
    return row


def wanted(db: Database, identity: str | None) -> list[Position]:
    """One dead letter, or every one without an id. Raises NotFound."""
    if identity is None:
        return spools.dead_letters(db)
    at = position_of(identity)
    _find(db, at, identity)
    return [at]


def replay(store: Store, letters: Sequence[Position]) -> list[Replayed]:
    """Ingest dead letters again. What is stored leaves; what is refused again stays, with the reason of now."""
    return [_replay(store, at) for at in letters]


def _replay(store: Store, at: Position) -> Replayed:
    payload = _find(store, at, identity_of(at))["payload"]
    try:
        count = _take(store, at, payload)
    except RowRefused as error:
        return _replay_parts(store, at, payload, str(error))
    return Replayed(identity_of(at), count, 0)


def _take(store: Store, at: Position | None, payload: bytes) -> int:
    """Store the records of a payload, and delete its letter with them. Raises RowRefused."""
    rows = decode_rows(payload)
    with store.transaction() as transaction:
        insert_batch(transaction, Batch(rows))
        if at:
            spools.delete_dead_letter(transaction, at)
    return len(rows)


def _replay_parts(store: Store, at: Position, payload: bytes, reason: str) -> Replayed:
    """Store each record that can be stored. The letter keeps the others, so that one bad record costs no other."""
    parts, left = _parts(payload), []
    for part in parts if len(parts) > 1 else ():
        try:
            _take(store, None, part)
        except RowRefused as error:
            left.append(part)
            reason = str(error)
    stored = len(parts) - len(left) if len(parts) > 1 else 0
    if stored:
        payload = b"[" + b",".join(left) + b"]"
    with store.transaction() as transaction:
        if stored and not left:
            spools.delete_dead_letter(transaction, at)
        else:
            spools.set_dead_letter(transaction, at, reason=reason, payload=payload)
    return Replayed(identity_of(at), stored, len(parts) - stored, reason if stored < len(parts) else "")


def _parts(payload: bytes) -> list[bytes]:
    """The records of a payload as JSON, or the payload itself where it is no list."""
    try:
        return [bytes(part) for part in msgspec.json.decode(payload, type=list[msgspec.Raw])] or [payload]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [payload]


def drop(store: Store, letters: Sequence[Position]) -> list[dict[str, Any]]:
    """Delete dead letters for ever."""
    with store.transaction() as transaction:
        for at in letters:
            spools.delete_dead_letter(transaction, at)
    return [{"id": identity_of(at)} for at in letters]
