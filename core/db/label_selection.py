"""What labels and thumbs say about the answers that users got."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row


def choices(db: Database, *, ids: Sequence[str]) -> dict[str, int | None]:
    """The choice that each vote is about, by the id of the vote."""
    return {row["id"]: row["choice"] for row in db.rows_in("label_selection.choices", ids)}


def thumbs(db: Database, *, model: str, since: datetime, until: datetime, most: float) -> Row:
    """Number of voters, and sums over them of their thumbs up, thumbs, squares and product. Reads all votes."""
    return db.one("label_selection.thumbs", model=model, since=since, until=until, most=most)
