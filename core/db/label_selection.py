"""What labels and thumbs say about the answers that users got."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row


def labels(db: Database, *, ids: Sequence[str]) -> dict[str, Row]:
    """The choice that each label is about, its user and its metadata, by the id of the label."""
    return {row["id"]: row for row in db.rows_in("label_selection.labels", ids)}


def thumbs(db: Database, *, model: str, since: datetime, until: datetime, most: float) -> Row:
    """Number of voters, and sums over them of their thumbs up, thumbs, squares and product. Reads all votes."""
    return db.one("label_selection.thumbs", model=model, since=since, until=until, most=most)


def audit(
    db: Database,
    *,
    model: str,
    since: datetime,
    until: datetime,
    most: float,
    labels: Sequence[str],
    reviewers: int = 1,
) -> dict[str, Row]:
    """Counts and sums over users by part: `asked`, `other`, `drawn`. `labels` are keys. Reads all votes.

    `reviewers` is the setting `feedback.reviewers`.
    """
    within = {"model": model, "since": since, "until": until, "most": most}
    rows = db.rows("label_selection.audit", **within, labels=labels, reviewers=reviewers)
    return {row.pop("part"): row for row in rows}
