"""Routes: which versions serve a model, now and before."""

from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class Serving:
    """Versions that serve a model, with their shares of users."""

    model: str
    champion: int
    canary: int | None
    share: float
    holdback: float


@dataclass(frozen=True, slots=True)
class LastServed:
    """The champion before a version, and the anchor of that time; None in rows from before anchors."""

    previous: int | None
    anchor: int | None


def current(db: Database, *, model: str) -> Row | None:
    """The current route of a model."""
    return db.maybe("routes.current", model=model)


def all_current(db: Database) -> list[Row]:
    """The current route of every model."""
    return db.rows("routes.all_current")


def add(
    db: Database,
    *,
    model: str,
    rev: int,
    time: datetime,
    champion: int,
    canary: int | None,
    share: float,
    previous: int | None,
    salt: str,
    decision_id: str | None,
    holdback: float,
    anchor: int | None = None,
) -> None:
    """Add a route: it becomes the current one."""
    db.run(
        "routes.add",
        model=model,
        rev=rev,
        time=time,
        champion=champion,
        canary=canary,
        share=share,
        previous=previous,
        salt=salt,
        decision_id=decision_id,
        holdback=holdback,
        anchor=anchor,
    )


def history(db: Database, *, model: str) -> list[Row]:
    """Every route of a model, newest first."""
    return db.rows("routes.history", model=model)


def serving(db: Database) -> list[Serving]:
    """What serves every model now."""
    return [Serving(**row) for row in db.rows("routes.serving")]


def newest(db: Database, *, model: str, limit: int) -> list[Row]:
    """The newest routes of a model."""
    return db.rows("routes.newest", model=model, limit=limit)


def with_decisions(db: Database) -> list[Row]:
    """The current route of every model, with what its decision recorded and a later decision that changed it."""
    return db.rows("routes.with_decisions")


def unfinished_switches(db: Database) -> list[Row]:
    """Switches of a champion without the event that reports their result."""
    return db.rows("routes.unfinished_switches")


def last_served(db: Database, *, model: str, champion: int) -> LastServed:
    """What a route had when a version was last the champion; nothing if it never was."""
    row = db.maybe("routes.last_served", model=model, champion=champion)
    return LastServed(**row) if row else LastServed(None, None)
