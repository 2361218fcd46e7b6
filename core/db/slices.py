"""What slices of held-out items need to know of their interactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database


@dataclass(frozen=True, slots=True)
class Arrival:
    """When an interaction arrived, and the name of its app. None without a key."""

    id: str
    time: datetime
    app: str | None


def arrivals(db: Database, *, ids: Sequence[str]) -> dict[str, Arrival]:
    """Those of the interactions that are stored, by id."""
    return {row["id"]: Arrival(**row) for row in db.rows_in("slices.arrivals", ids)}
