"""Models that change nothing automatically until a person ends the freeze."""

from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database


@dataclass(frozen=True, slots=True)
class Freeze:
    """Who froze a model, when and why."""

    time: datetime
    actor: str
    comment: str


def add(db: Database, *, model: str, time: datetime, actor: str, comment: str) -> None:
    """Add a freeze."""
    db.run("frozen_models.add", model=model, time=time, actor=actor, comment=comment)


def find(db: Database, *, model: str) -> Freeze | None:
    """The freeze of a model, None if it is not frozen."""
    row = db.maybe("frozen_models.find", model=model)
    return Freeze(**row) if row else None


def delete(db: Database, *, model: str) -> None:
    """End the freeze of a model."""
    db.run("frozen_models.delete", model=model)
