"""Feedback, its revocations, and the queries that count and list it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row, Store, Transaction
from core.records import Arm


@dataclass(frozen=True, slots=True)
class AddedFeedback:
    """Feedback that was new; `model` is None if its interaction has not arrived."""

    id: str
    interaction_id: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class WaitingFeedback:
    """Feedback that arrived before its interaction."""

    id: str
    interaction_id: str


@dataclass(frozen=True, slots=True)
class VersionCount:
    """Number of feedback rows of one type on the answers of a version."""

    model: str
    version: int
    arm: Arm
    type: str
    n: int


def count_since_last_run(db: Database, *, model: str) -> Row:
    """Number and newest time of feedback since the last run of a model."""
    return db.one("feedback.count_since_last_run", model=model)


def add(transaction: Transaction, rows: Sequence[Row]) -> list[AddedFeedback]:
    """Add feedback. Returns the rows that were new."""
    return [AddedFeedback(**row) for row in transaction.run_set("feedback.add", rows)]


def add_waiting(transaction: Transaction, feedback: Sequence[WaitingFeedback]) -> None:
    """Record feedback whose interaction has not arrived."""
    rows = [{"id": one.id, "interaction_id": one.interaction_id} for one in feedback]
    transaction.run_set("feedback.add_waiting", rows)


def waiting_for(db: Database, *, ids: Sequence[str]) -> list[WaitingFeedback]:
    """Waiting feedback about these interactions."""
    if not ids:
        return []
    return [WaitingFeedback(**row) for row in db.rows("feedback.waiting_for", ids=ids)]


def set_interaction(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Fill in model, version and arm of feedback whose interaction arrived."""
    transaction.run_set("feedback.set_interaction", rows)


def delete_waiting(transaction: Transaction, ids: Sequence[str]) -> None:
    """Delete feedback from the waiting list."""
    transaction.run_set("feedback.delete_waiting", [{"id": id} for id in ids])


def add_revocation(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add revocations."""
    transaction.run_set("feedback.add_revocation", rows)


def apply_revocations(transaction: Transaction, *, ids: Sequence[str]) -> None:
    """Mark those of these feedback rows as revoked that have a revocation."""
    if ids:
        transaction.run_set("feedback.apply_revocations", transaction.rows("feedback.revocations", ids=ids))


def counts(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by model and type."""
    return db.rows("feedback.counts", model=model, key=key)


def counts_by_key(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by API key, model and type."""
    return db.rows("feedback.counts_by_key", model=model, key=key)


def counts_by_user(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by voter, model and type: those with most feedback come first."""
    return db.rows("feedback.counts_by_user", model=model, key=key)


def counts_by_version(db: Database) -> list[VersionCount]:
    """Feedback counts by version, arm and type, for the five newest versions of each model."""
    return [VersionCount(**row) for row in db.rows("feedback.counts_by_version")]


def count_waiting(db: Database) -> int:
    """Number of feedback rows whose interaction has not arrived."""
    return db.one("feedback.count_waiting")["n"]


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


def total(db: Database) -> int:
    """Number of feedback rows."""
    return db.one("feedback.total")["n"]


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
