"""How far each notification target is in the ledger."""

from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class Position:
    """Number of the newest decision that a notification target received, and the time of it."""

    seq: int
    time: datetime


def position(db: Database, *, target: str) -> Position | None:
    """How far a notification target is in the ledger."""
    row = db.maybe("notifications.position", target=target)
    return Position(**row) if row else None


def set_position(db: Database, *, target: str, seq: int, time: datetime) -> None:
    """Record how far a notification target is in the ledger."""
    db.run("notifications.set_position", target=target, seq=seq, time=time)


def pending(db: Database, *, seq: int) -> list[Row]:
    """Decisions that a notification target has not received, oldest first."""
    return db.rows("notifications.pending", seq=seq)
