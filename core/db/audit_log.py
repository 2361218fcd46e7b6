"""The audit log: its rows in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.decisions import LedgerHead
from core.db.store import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows: of an act or a group of acts, of actors whose name has a text, of a model, an outcome and a time.

    None filters nothing. `before` is the number of the row that a page follows.
    """

    act: str | None = None
    actor: str | None = None
    model: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


def head(db: Database) -> LedgerHead | None:
    """The newest row's number and hash."""
    row = db.maybe("audit_log.head")
    return LedgerHead(**row) if row else None


def hash_at(db: Database, *, seq: int) -> str | None:
    """The hash of one row by its number, or None if there is none."""
    row = db.maybe("audit_log.hash_at", seq=seq)
    return row["hash"] if row else None


def append(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Append rows with their numbers and hashes."""
    transaction.run_set("audit_log.append", rows)


def after(db: Database, *, seq: int, limit: int) -> list[Row]:
    """Rows after a number, oldest first, up to a limit."""
    return db.rows("audit_log.after", seq=seq, limit=limit)


def page(db: Database, wanted: Filter, *, limit: int) -> list[Row]:
    """One page of rows, newest first."""
    return db.rows(
        "audit_log.page",
        before=2**62 if wanted.before is None else wanted.before,
        act=wanted.act,
        actor=wanted.actor,
        model=wanted.model,
        outcome=wanted.outcome,
        since=wanted.since,
        until=wanted.until,
        limit=limit,
    )


def newest_of(db: Database, *, act: str) -> Row | None:
    """The number (seq) and the object of the newest row of an act, None if there is none."""
    return db.maybe("audit_log.newest_of", act=act)


def last_before(db: Database, *, until: datetime, before: datetime, now: datetime) -> LedgerHead | None:
    """The last row up to which all rows are from `until` or earlier and from before `before`, None if there is none.

    Rows from after `now` are from a clock that was wrong. They do not count.
    """
    row = db.maybe("audit_log.last_before", until=until, before=before, now=now)
    return LedgerHead(**row) if row else None


def delete_through(transaction: Transaction, *, seq: int) -> int:
    """Delete all rows up to a number. Returns how many they were."""
    return transaction.one("audit_log.delete_through", seq=seq)["Count"]
