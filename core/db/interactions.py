"""Interactions and their daily counts."""

from collections.abc import Sequence
from datetime import date, datetime

from core.db.store import Database, Row, Transaction


def add(transaction: Transaction, rows: Sequence[Row]) -> list[str]:
    """Add interactions. Returns the ids that were new."""
    return [row["id"] for row in transaction.run_set("interactions.add", rows)]


def add_traffic(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add to the daily request counts."""
    transaction.run_many("interactions.add_traffic", rows)


def delete_text(db: Database, *, id: str) -> None:
    """Delete request and answer of an interaction."""
    db.run("interactions.delete_text", id=id)


def count_failed(db: Database, *, model: str, since: datetime) -> Row:
    """Number of a model's failed requests since a moment."""
    return db.one("interactions.count_failed", model=model, since=since)


def total(db: Database) -> int:
    """Number of interactions."""
    return db.one("interactions.total")["n"]


def find(db: Database, *, id: str) -> Row | None:
    """One interaction by its id."""
    return db.maybe("interactions.find", id=id)


def newest_time(db: Database) -> datetime | None:
    """Time of the newest interaction."""
    return db.one("interactions.newest_time")["time"]


def traffic_by_day(db: Database, *, model: str, since: date) -> list[Row]:
    """Requests, errors and tokens of a model per day and version."""
    return db.rows("interactions.traffic_by_day", model=model, since=since)


def unsure_answers(
    db: Database, *, model: str, since: datetime, window: int, labels: Sequence[str], limit: int
) -> list[Row]:
    """Answers without votes that look wrong or cut off, newest first."""
    return db.rows("interactions.unsure_answers", model=model, since=since, window=window, labels=labels, limit=limit)
