"""Snapshots and the feedback in each of their rows."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from core.db.store import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """The folder of a snapshot; `report` is JSON."""

    hash: str
    path: str
    report: str


def add(db: Database, *, hash: str, model: str, run_id: str, time: datetime, path: str, report: str) -> None:
    """Add a snapshot, with the report of a run."""
    db.run("snapshots.add", hash=hash, model=model, run_id=run_id, time=time, path=path, report=report)


def set_report(db: Database, *, hash: str, run_id: str, report: str) -> None:
    """Replace the report of a run."""
    db.run("snapshots.set_report", hash=hash, run_id=run_id, report=report)


def has_rows(db: Database, *, snapshot: str) -> bool:
    """Whether a snapshot's rows are stored."""
    return db.maybe("snapshots.has_rows", snapshot=snapshot) is not None


def add_rows(transaction: Transaction, rows: pa.Table) -> None:
    """Add rows of a snapshot: a table of snapshot, interaction_id, feedback_id and bucket."""
    transaction.run_table("snapshots.add_rows", rows)


def find(db: Database, *, hash: str, run_id: str | None = None) -> StoredSnapshot | None:
    """One snapshot by its hash, with the report of this run if it has one."""
    row = db.maybe("snapshots.find", hash=hash, run_id=run_id)
    return StoredSnapshot(**row) if row else None


def of_run_or_hash(db: Database, *, identity: str) -> Row | None:
    """A snapshot by a run's id, the beginning of its hash, or the newest of a model, with its newest report."""
    return db.maybe("snapshots.of_run_or_hash", identity=identity)


def newest_report(db: Database, *, model: str) -> str | None:
    """The report of a model's newest snapshot as JSON."""
    row = db.maybe("snapshots.newest_report", model=model)
    return row["report"] if row else None


def learnt_from(db: Database, *, snapshot: str, ids: Collection[str]) -> frozenset[str]:
    """Those of these interactions that are in the train bucket of a snapshot."""
    rows = db.rows("snapshots.learnt_from", snapshot=snapshot, ids=list(ids))
    return frozenset(row["interaction_id"] for row in rows)


def taken_back(db: Database, *, snapshot: str) -> list[Row]:
    """Rows of a snapshot's train bucket whose vote was revoked since, or is in quarantine now: `revoked` is None."""
    return db.rows("snapshots.taken_back", snapshot=snapshot)


def folders(db: Database) -> list[str]:
    """The folder of every snapshot."""
    return [row["path"] for row in db.rows("snapshots.folders")]


def move_folders(db: Database, *, folder: str) -> None:
    """Set the parent folder of all snapshots, after a restore."""
    db.run("snapshots.move_folders", folder=folder)
