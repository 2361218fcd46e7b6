"""What labels and thumbs say about the answers that users got."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class LabelReason:
    """The choice that a label is about, and why it was given: `volunteered`, `asked`, `drawn` or `reviewer`."""

    choice: int | None
    origin: str | None


def reasons(db: Database, *, ids: Sequence[str]) -> dict[str, LabelReason]:
    """The choice and the reason of each label, by its id. A vote that is no label has no reason."""
    found = db.rows_in("label_selection.reasons", ids)
    return {row["id"]: LabelReason(row["choice"], row["origin"]) for row in found}


def thumbs(db: Database, *, model: str, since: datetime, until: datetime, most: float) -> Row:
    """Number of voters, and sums over them of their thumbs up, thumbs, squares and product. Reads all votes."""
    return db.one("label_selection.thumbs", model=model, since=since, until=until, most=most)


def audit(
    db: Database, *, model: str, since: datetime, until: datetime, most: float, labels: Sequence[str]
) -> dict[str, Row]:
    """Answers, labels and sums over users by part: `asked`, `other`, `drawn`. `labels` are keys. Reads all votes."""
    rows = db.rows("label_selection.audit", model=model, since=since, until=until, most=most, labels=labels)
    return {row.pop("part"): row for row in rows}
