"""Quarantines and the votes in them."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row, Transaction


def suspect_votes(db: Database, *, model: str, version: int, beside: int) -> list[str]:
    """Ids of votes that a version learned from and the version compared with it did not."""
    rows = db.rows("quarantines.suspect_votes", model=model, version=version, beside=beside)
    return [row["feedback_id"] for row in rows]


def add(db: Database, *, id: str, model: str, version: int, decision_id: str, time: datetime) -> None:
    """Add a quarantine of a version's votes."""
    db.run("quarantines.add", id=id, model=model, version=version, decision_id=decision_id, time=time)


def add_for_key(db: Database, *, id: str, model: str, key_id: str) -> None:
    """Add a quarantine of a key's votes, by the newest decision of the same transaction."""
    db.run("quarantines.add_for_key", id=id, model=model, key_id=key_id)


def votes_of_key(db: Database, *, key_id: str, model: str) -> list[str]:
    """Ids of votes of a key that were not revoked and are in no quarantine."""
    return [row["feedback_id"] for row in db.rows("quarantines.votes_of_key", key_id=key_id, model=model)]


def add_votes(transaction: Transaction, *, id: str, feedback_ids: Sequence[str]) -> None:
    """Add votes to a quarantine."""
    rows = [{"quarantine_id": id, "feedback_id": feedback_id} for feedback_id in feedback_ids]
    transaction.run_many("quarantines.add_votes", rows)


def find(db: Database, *, id: str) -> Row | None:
    """One quarantine by its id, or by its decision's number."""
    return db.maybe("quarantines.find", id=id)


def set_outcome(db: Database, *, state: str, time: datetime, actor: str, comment: str, id: str) -> None:
    """Record the outcome of a quarantine."""
    db.run("quarantines.set_outcome", state=state, time=time, actor=actor, comment=comment, id=id)


def newest(db: Database, *, model: str | None) -> list[Row]:
    """Quarantines with their size, newest first, of one model or of all."""
    return db.rows("quarantines.newest", model=model)


def votes(db: Database, *, id: str, limit: int) -> list[Row]:
    """Votes in a quarantine; users with most votes come first."""
    return db.rows("quarantines.votes", id=id, limit=limit)
