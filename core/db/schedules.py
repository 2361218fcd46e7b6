"""Schedules: when the cron line of each model is due next."""

from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database


@dataclass(frozen=True, slots=True)
class Due:
    """A cron line and when it is due next."""

    line: str
    due: datetime


def find(db: Database, *, model: str) -> Due | None:
    """When the cron line of a model is due next. None before its first start."""
    row = db.maybe("schedules.find", model=model)
    return Due(row["line"], row["due"]) if row else None


def put(db: Database, *, model: str, line: str, due: datetime) -> None:
    """Record when the cron line of a model is due next."""
    db.run("schedules.put", model=model, line=line, due=due)
