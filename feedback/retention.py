"""Retention of rows: what of each kind is too old, and its deletion in pieces.

Files are the work of `ops/retention_files.py`, the schedule and the log of `ops/retention.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from core import audit_log
from core.db import retention
from core.db.retention import Found, Piece
from core.db.store import Database, Store, Transaction
from core.settings import RetentionSettings

# Rows in one transaction. Writers wait for it, so it takes a fraction of a second.
PIECE = 20_000
# A run has some hundreds of rows of progress.
RUNS = 100
LEAST_STEP = timedelta(microseconds=1)
# The clock that dates votes of a live test may be up to one hour slow.
SLOW_CLOCK = timedelta(hours=1)
# What an open canary or holdback reads.
OF_LIVE_TESTS = ("texts", "unrated_texts", "stored_completions", "votes")
# What holds texts of users: after its deletion, the store's file has them in free blocks.
WITH_TEXTS = (*OF_LIVE_TESTS, "answers", "regressions", "dead_letters")

Find = Callable[[Database, datetime], Found]
End = Callable[[Database, datetime, datetime, int], datetime | None]
Delete = Callable[[Transaction, Piece], int]


@dataclass(frozen=True, slots=True)
class RowKind:
    """One kind of rows: how it is counted, where its pieces end, and how a piece is deleted."""

    find: Find
    end: End
    delete: Delete
    limit: int = PIECE


# Every kind of rows by its setting, in the order in which they are deleted.
KINDS = {
    "stored_completions": RowKind(
        retention.find_stored_completions, retention.end_of_stored_completions, retention.delete_stored_completions
    ),
    "votes": RowKind(retention.find_votes, retention.end_of_feedback, retention.delete_votes),
    "texts": RowKind(retention.find_texts, retention.end_of_interactions, retention.delete_texts),
    "unrated_texts": RowKind(
        retention.find_unrated_texts, retention.end_of_interactions, retention.delete_unrated_texts
    ),
    "waiting": RowKind(retention.find_waiting, retention.end_of_feedback, retention.delete_waiting),
    "answers": RowKind(retention.find_answers, retention.end_of_answers, retention.delete_answers),
    "dead_letters": RowKind(retention.find_dead_letters, retention.end_of_dead_letters, retention.delete_dead_letters),
    "regressions": RowKind(retention.find_regressions, retention.end_of_runs, retention.delete_regressions, RUNS),
    "audit_log": RowKind(retention.find_audit_log, retention.end_of_audit_log, audit_log.expire),
    "progress": RowKind(retention.find_progress, retention.end_of_runs, retention.delete_progress, RUNS),
}


def limit_of(kind: str, days: int | None, now: datetime, live_since: datetime | None) -> datetime | None:
    """The time before which a kind is deleted, None if nothing is.

    An open canary or holdback reads texts and votes from its start on, so these stay until it has ended.
    """
    if days is None:
        return None
    before = now - timedelta(days=days)
    if live_since is not None and kind in OF_LIVE_TESTS:
        before = min(before, live_since - SLOW_CLOCK)
    return before


def find_rows(store: Store, settings: RetentionSettings, now: datetime) -> dict[str, Found]:
    """How much there is of each kind of rows, and how much of it is too old."""
    live = retention.live_since(store)
    never = datetime.min.replace(tzinfo=now.tzinfo, year=1970)
    return {
        name: kind.find(store, limit_of(name, getattr(settings, name), now, live) or never)
        for name, kind in KINDS.items()
    }


def delete_rows(store: Store, kind: str, days: int | None, now: datetime) -> Iterator[int]:
    """Delete what is too old of one kind, piece by piece. Yields the number of rows of each piece.

    Every piece is a transaction of its own, so that others can write between them. A piece is a range of time, which
    DuckDB finds by the minimum and maximum of each block of rows: the cost grows with what is deleted, not with the
    table.
    """
    before = limit_of(kind, days, now, retention.live_since(store))
    rows = KINDS[kind]
    since = rows.find(store, before).since if before else None
    while before and since and since < before:
        with store.transaction() as transaction:
            until = rows.end(transaction, since, before, rows.limit) or before
            count = rows.delete(transaction, Piece(since, until, before, now))
        yield count
        since = until + LEAST_STEP
    if kind == "votes" and before:
        retention.delete_holdout_users(store)
