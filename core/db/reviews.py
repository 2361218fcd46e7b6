"""Labels of reviewers: the last of each reviewer on each answer."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row


def labels(db: Database, *, model: str, since: datetime, limit: int) -> list[Row]:
    """The newest labels since a moment. `value` is JSON. The cost grows with the model's votes since then."""
    return db.rows("reviews.labels", model=model, since=since, limit=limit)


def reviewers(db: Database, *, ids: Sequence[str]) -> dict[str, set[str]]:
    """Who labelled each of these answers."""
    found: dict[str, set[str]] = {}
    for row in db.rows_in("reviews.reviewers", ids):
        found.setdefault(row["interaction_id"], set()).add(row["user_id"])
    return found
