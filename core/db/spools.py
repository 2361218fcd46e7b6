"""How far each spool is ingested, and the dead letters."""

from datetime import datetime

from core.db.store import Database, Row


def offset(db: Database, *, spool: str, segment: int) -> int:
    """How many bytes of a spool segment are ingested."""
    row = db.maybe("spools.offset", spool=spool, segment=segment)
    return row["offset"] if row else 0


def set_offset(db: Database, *, spool: str, segment: int, offset: int) -> None:
    """Record how many bytes of a spool segment are ingested."""
    db.run("spools.set_offset", spool=spool, segment=segment, offset=offset)


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
    """The newest dead letters."""
    return db.rows("spools.newest_dead_letters", limit=limit)


def seen(db: Database) -> list[Row]:
    """Each spool with its segments and bytes."""
    return db.rows("spools.seen")
