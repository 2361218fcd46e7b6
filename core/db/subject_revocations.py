"""Requests to take back what a user said about an interaction, and the feedback that they mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.store import Row, Transaction


@dataclass(frozen=True, slots=True)
class SubjectRevocation:
    """What a user said about an interaction before `time` is taken back, by a key. '' is a client that may take any."""

    interaction_id: str
    user: str
    key: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """Feedback on an interaction. `user` is its own, or that of the interaction if it has none."""

    id: str
    interaction_id: str
    user: str | None
    key: str | None
    time: datetime


def add(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add requests: interaction_id, user_id, key_id and time."""
    transaction.run_set("subject_revocations.add", rows)


def has_any(transaction: Transaction) -> bool:
    """Whether there is a request."""
    return transaction.maybe("subject_revocations.any") is not None


def of_interactions(transaction: Transaction, ids: Sequence[str]) -> list[SubjectRevocation]:
    """Requests about these interactions."""
    return [SubjectRevocation(**row) for row in transaction.rows_in("subject_revocations.of_interactions", ids)]


def feedback(transaction: Transaction, ids: Sequence[str]) -> list[Said]:
    """Feedback on these interactions, through their index."""
    askers = {row["id"]: row["user"] for row in transaction.rows_in("subject_revocations.askers", ids)}
    rows = transaction.rows_in("subject_revocations.feedback", ids)
    return [
        Said(
            row["id"], row["interaction_id"], row["user"] or askers.get(row["interaction_id"]), row["key"], row["time"]
        )
        for row in rows
    ]
