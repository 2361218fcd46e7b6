"""How far each notification target is in the ledger."""

from datetime import datetime

from core.db.store import Database, Row


def position(db: Database, *, target: str) -> Row | None:
    """How far a notification target is in the ledger."""
    return db.maybe("notifications.position", target=target)


def set_position(db: Database, *, target: str, seq: int, time: datetime) -> None:
    """Record how far a notification target is in the ledger."""
    db.run("notifications.set_position", target=target, seq=seq, time=time)


def pending(db: Database, *, seq: int) -> list[Row]:
    """Decisions that a notification target has not received, oldest first."""
    return db.rows("notifications.pending", seq=seq)
