"""Feedback, its revocations, and the queries that count and list it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from core.db.store import Database, Row, Store, Transaction


def count_since_last_run(db: Database, *, model: str) -> Row:
    """Number and newest time of feedback since the last run of a model."""
    return db.one("feedback.count_since_last_run", model=model)


def add(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Add feedback. Returns the rows that were new."""
    return transaction.run_set("feedback.add", rows)


def add_waiting(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Record feedback whose interaction has not arrived."""
    return transaction.run_set("feedback.add_waiting", rows)


def waiting_for(db: Database, *, ids: Sequence[str]) -> list[Row]:
    """Waiting feedback about these interactions."""
    return db.rows("feedback.waiting_for", ids=ids)


def set_interaction(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Fill in model, version and arm of feedback whose interaction arrived."""
    return transaction.run_set("feedback.set_interaction", rows)


def delete_waiting(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Delete feedback from the waiting list."""
    return transaction.run_set("feedback.delete_waiting", rows)


def add_revocation(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Add revocations."""
    return transaction.run_set("feedback.add_revocation", rows)


def revocations(db: Database, *, ids: Sequence[str]) -> list[Row]:
    """Revocations of these feedback ids."""
    return db.rows("feedback.revocations", ids=ids)


def apply_revocations(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Mark feedback as revoked."""
    return transaction.run_set("feedback.apply_revocations", rows)


def counts(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by model and type."""
    return db.rows("feedback.counts", model=model, key=key)


def counts_by_key(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by API key, model and type."""
    return db.rows("feedback.counts_by_key", model=model, key=key)


def counts_by_version(db: Database) -> list[Row]:
    """Feedback counts by version, arm and type, for the five newest versions of each model."""
    return db.rows("feedback.counts_by_version")


def count_waiting(db: Database) -> Row:
    """Number of feedback rows whose interaction has not arrived."""
    return db.one("feedback.count_waiting")


def by_day(db: Database, *, model: str, since: datetime) -> list[Row]:
    """Feedback of a model per day and type."""
    return db.rows("feedback.by_day", model=model, since=since)


def page(
    db: Database,
    *,
    before: datetime,
    before_id: str,
    model: str | None,
    type: str | None,
    words: str | None,
    limit: int,
) -> list[Row]:
    """One page of feedback, newest first, by model, type and words."""
    return db.rows(
        "feedback.page", before=before, before_id=before_id, model=model, type=type, words=words, limit=limit
    )


def on_interaction(db: Database, *, id: str) -> list[Row]:
    """Feedback about one interaction, oldest first."""
    return db.rows("feedback.on_interaction", id=id)


def total(db: Database) -> Row:
    """Number of feedback rows."""
    return db.one("feedback.total")


def by_type(db: Database, *, model: str) -> list[Row]:
    """Feedback of a model by type."""
    return db.rows("feedback.by_type", model=model)


def label_votes(db: Database, *, model: str) -> list[Row]:
    """Labels, corrections and thumbs that were not revoked, with their interactions, oldest first."""
    return db.rows("feedback.label_votes", model=model)


def preference_votes(db: Database, *, model: str) -> list[Row]:
    """Preferences that were not revoked, with both interactions, oldest first."""
    return db.rows("feedback.preference_votes", model=model)


def answers_in_doubt(db: Database, *, model: str, since: datetime, window: int, limit: int) -> list[Row]:
    """Answers that users' newest votes contradict, the most doubtful first."""
    return db.rows("feedback.answers_in_doubt", model=model, since=since, window=window, limit=limit)


def label_vote_batches(store: Store, size: int, *, model: str) -> Iterator[list[Row]]:
    """The rows of `label_votes` in batches: for more votes than fit into memory."""
    return store.batches("feedback.label_votes", size, model=model)
