"""Snapshots and the feedback in each of their rows."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row, Transaction


def add(db: Database, *, hash: str, model: str, run_id: str, time: datetime, path: str, report: str) -> None:
    """Add a snapshot."""
    db.run("snapshots.add", hash=hash, model=model, run_id=run_id, time=time, path=path, report=report)


def has_rows(db: Database, *, snapshot: str) -> Row | None:
    """Whether a snapshot's rows are stored."""
    return db.maybe("snapshots.has_rows", snapshot=snapshot)


def add_rows(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Add rows of a snapshot."""
    return transaction.run_set("snapshots.add_rows", rows)


def find(db: Database, *, hash: str) -> Row | None:
    """One snapshot by its hash."""
    return db.maybe("snapshots.find", hash=hash)


def folders(db: Database) -> list[Row]:
    """The folder of every snapshot."""
    return db.rows("snapshots.folders")


def move_folders(db: Database, *, folder: str) -> None:
    """Set the parent folder of all snapshots, after a restore."""
    db.run("snapshots.move_folders", folder=folder)
