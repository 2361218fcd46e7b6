"""How far each spool is ingested, and the dead letters."""

from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class Position:
    """Where a frame is: the spool, the segment, and the byte of the segment at which it begins."""

    spool: str
    segment: int
    offset: int


def offset(db: Database, *, spool: str, segment: int) -> int:
    """How many bytes of a spool segment are ingested."""
    row = db.maybe("spools.offset", spool=spool, segment=segment)
    return row["offset"] if row else 0


def advance(db: Database, *, spool: str, segment: int, begin: int, end: int) -> bool:
    """Record that a spool segment is ingested up to `end`. Returns whether it was ingested up to `begin` before.

    `ON CONFLICT` would scan the offsets of all segments that there ever were.
    """
    if db.maybe("spools.advance", spool=spool, segment=segment, begin=begin, end=end):
        return True
    is_new = begin == 0 and db.maybe("spools.offset", spool=spool, segment=segment) is None
    if is_new:
        db.run("spools.add_offset", spool=spool, segment=segment, offset=end)
    return is_new


def add_dead_letter(
    db: Database, *, spool: str, segment: int, offset: int, time: datetime, reason: str, payload: bytes
) -> None:
    """Add a record that could not be stored, with its reason."""
    db.run(
        "spools.add_dead_letter", spool=spool, segment=segment, offset=offset, time=time, reason=reason, payload=payload
    )


def count_dead_letters(db: Database) -> int:
    """Number of dead letters."""
    return db.one("spools.count_dead_letters")["n"]


def newest_dead_letters(db: Database, *, limit: int) -> list[Row]:
    """The newest dead letters, with the size of each in bytes."""
    return db.rows("spools.newest_dead_letters", limit=limit)


def dead_letters(db: Database) -> list[Position]:
    """Where every dead letter is, in the order in which gateways wrote them."""
    return [Position(**row) for row in db.rows("spools.dead_letters")]


def dead_letter(db: Database, at: Position) -> Row | None:
    """One dead letter with its content."""
    return db.maybe("spools.dead_letter", spool=at.spool, segment=at.segment, offset=at.offset)


def set_dead_letter(db: Database, at: Position, *, reason: str, payload: bytes) -> None:
    """Replace the content and the reason of a dead letter."""
    db.run(
        "spools.set_dead_letter",
        spool=at.spool,
        segment=at.segment,
        offset=at.offset,
        reason=reason,
        payload=payload,
    )


def delete_dead_letter(db: Database, at: Position) -> None:
    """Delete one dead letter."""
    db.run("spools.delete_dead_letter", spool=at.spool, segment=at.segment, offset=at.offset)


def seen(db: Database) -> list[Row]:
    """Each spool with its segments and bytes."""
    return db.rows("spools.seen")
