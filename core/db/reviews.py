"""Labels of reviewers, the last of each on each answer, and the answers that users' votes make doubtful."""

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


def answers_in_doubt(
    db: Database,
    *,
    model: str,
    since: datetime,
    window: int,
    limit: int,
    reviewer: str | None = None,
    reviewers: int = 1,
) -> list[Row]:
    """Answers that users' newest votes contradict, the most doubtful first.

    Answers are left out that `reviewers` people have labelled, or this `reviewer`.

    The time of the oldest of these votes is found first, so that the values of no other vote are read.
    """
    oldest = db.one("reviews.oldest_of_newest", model=model, since=since, window=window)["time"]
    if oldest is None:
        return []
    whose = {"reviewer": reviewer, "reviewers": reviewers}
    return db.rows("reviews.answers_in_doubt", model=model, since=oldest, limit=limit, **whose)
