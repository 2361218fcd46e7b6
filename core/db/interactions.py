"""Interactions and their daily counts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa

from core.db import usage
from core.db.columns import table_of_columns
from core.db.rows import InteractionRow, text, utc
from core.db.store import Database, Row, Transaction
from core.records import Arm

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("time", pa.timestamp("us")),
        ("model", pa.string()),
        ("version", pa.int32()),
        ("arm", pa.string()),
        ("share", pa.float64()),
        ("bucket", pa.float64()),
        ("user_id", pa.string()),
        ("conversation_id", pa.string()),
        ("endpoint", pa.string()),
        ("request", pa.string()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("status", pa.int32()),
        ("latency_ms", pa.float64()),
        ("ttft_ms", pa.float64()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("streamed", pa.bool_()),
        ("key_id", pa.string()),
        ("cause", pa.string()),
        ("choices", pa.string()),
        ("asked", pa.bool_()),
    ]
)

# A label is newer than its answer, but two machines have two clocks.
CLOCKS_DIFFER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Served:
    """Which version answered an interaction, in which arm, and for which user if one is named."""

    model: str
    version: int
    arm: Arm
    user: str | None = None


def table_of(rows: Collection[InteractionRow]) -> pa.Table:
    """Interactions as a table for `add`. Raises RowRefused if a value does not fit its column.

    It is made column by column: a tuple per row would take longer than the rest.
    """
    return table_of_columns(
        COLUMNS,
        [
            [row.id for row in rows],
            [utc(row.time) for row in rows],
            [row.model for row in rows],
            [row.version for row in rows],
            [row.arm for row in rows],
            [row.share for row in rows],
            [row.bucket for row in rows],
            [row.user for row in rows],
            [row.conversation for row in rows],
            [row.endpoint for row in rows],
            [text(row.request) for row in rows],
            [row.answer for row in rows],
            [row.finish_reason for row in rows],
            [row.status for row in rows],
            [row.latency_ms for row in rows],
            [row.ttft_ms for row in rows],
            [row.prompt_tokens for row in rows],
            [row.completion_tokens for row in rows],
            [row.streamed for row in rows],
            [row.key_id for row in rows],
            [row.cause for row in rows],
            [text(row.choices) for row in rows],
            [row.asked for row in rows],
        ],
    )


def add(transaction: Transaction, given: pa.Table) -> None:
    """Add interactions and count them in the traffic of their days in UTC. Raises RowKnown if one is stored."""
    transaction.run_table("interactions.add", given)
    transaction.run_table("interactions.add_traffic", given)
    usage.add(transaction, given)


def served(transaction: Transaction, ids: Sequence[str]) -> dict[str, Served]:
    """Those of the interactions that are stored, by id."""
    found = transaction.rows_in("interactions.served", ids)
    return {row["id"]: Served(row["model"], row["version"], row["arm"], row["user"]) for row in found}


def served_last(transaction: Transaction, conversations: Sequence[str]) -> dict[str, Served]:
    """What served the last interaction of each conversation that is stored. Without an index, so it reads a column."""
    found = transaction.rows_in("interactions.served_last", conversations)
    return {row["id"]: Served(row["model"], row["version"], row["arm"], row["user"]) for row in found}


def delete_text(db: Database, *, id: str) -> None:
    """Delete request and answer of an interaction."""
    db.run("interactions.delete_text", id=id)
    db.run("interactions.delete_prepared_prompt", id=id)
    db.run("interactions.delete_voted_answer", id=id)


def count_failed(db: Database, *, model: str, since: datetime) -> Row:
    """Number of a model's failed requests since a moment."""
    return db.one("interactions.count_failed", model=model, since=since)


def total(db: Database) -> int:
    """Number of interactions."""
    return db.one("interactions.total")["n"]


def find(db: Database, *, id: str) -> Row | None:
    """One interaction by its id."""
    return db.maybe("interactions.find", id=id)


def find_all(db: Database, *, ids: Sequence[str]) -> dict[str, Row]:
    """Those of the interactions that are stored, by id: one query, as each looks up a block of compressed texts."""
    return {row["id"]: row for row in db.rows_in("interactions.find_all", ids)}


def sample(db: Database, *, model: str, since: datetime, size: int) -> dict[str, str | None]:
    """The user, or else conversation, of each of a sample of answered requests of a model since a moment, by its id."""
    rows = db.rows("interactions.sample", model=model, since=since, size=size)
    return {row["id"]: row["who"] for row in rows}


def requests(db: Database, *, ids: Sequence[str]) -> list[Row]:
    """Endpoint and request of interactions by their ids."""
    return db.rows_in("interactions.requests", ids)


def count_since(db: Database, *, model: str, since: datetime) -> int:
    """Number of a model's answered requests since a moment."""
    return db.one("interactions.count_since", model=model, since=since)["n"]


def newest_time(db: Database) -> datetime | None:
    """Time of the newest interaction."""
    return db.one("interactions.newest_time")["time"]


def recent_traffic(db: Database, *, since: datetime) -> list[Row]:
    """Requests, errors and the 95th percentile of latency per model. The cost grows with the requests since then."""
    return db.rows("interactions.recent_traffic", since=since)


def page(
    db: Database,
    *,
    since: datetime,
    before: datetime,
    before_id: str,
    model: str | None,
    version: int | None,
    user: str | None,
    key: str | None,
    least_ms: float | None,
    lowest: int,
    highest: int,
    limit: int,
) -> list[Row]:
    """Requests from `since` to (`before`, `before_id`), newest first. The cost grows with the requests of that time."""
    return db.rows(
        "interactions.page",
        since=since,
        before=before,
        before_id=before_id,
        model=model,
        version=version,
        user=user,
        key=key,
        least_ms=least_ms,
        lowest=lowest,
        highest=highest,
        limit=limit,
    )


def traffic_by_day(db: Database, *, model: str, since: date) -> list[Row]:
    """Requests, errors and tokens of a model per day and version."""
    return db.rows("interactions.traffic_by_day", model=model, since=since)


def usage_by_key(db: Database, *, since: datetime) -> list[Row]:
    """Requests, errors and tokens per key since a moment. The cost grows with the requests since then."""
    return db.rows("interactions.usage_by_key", since=since)


def random_answers(
    db: Database,
    *,
    model: str,
    since: datetime,
    window: int,
    labels: Sequence[str],
    limit: int,
    reviewer: str | None = None,
    reviewers: int = 1,
) -> list[Row]:
    """The newest answers that are one of the labels, in a fixed random order.

    Answers are left out that `reviewers` people have labelled here, or this `reviewer`.

    The cost grows with the answers of the newest days that have twice `window` requests. If too many of these were
    refused or asked for a version, all days are read. Each time is a parameter of the next statement, because DuckDB
    skips blocks of a table by constants only.
    """
    days = db.one("interactions.newest_days", model=model, since=since, least=2 * window)["since"]
    found = db.one("interactions.oldest_of_newest", model=model, since=max(since, days or since), window=window)
    if days and found["n"] < window:
        found = db.one("interactions.oldest_of_newest", model=model, since=since, window=window)
    if (oldest := found["time"]) is None:
        return []
    labelled = oldest - CLOCKS_DIFFER
    whose = {"reviewer": reviewer, "reviewers": reviewers}
    among = {"model": model, "since": oldest, "labelled": labelled}
    return db.rows("interactions.random_answers", **among, **whose, labels=labels, limit=limit)


def unsure_answers(
    db: Database,
    *,
    model: str,
    since: datetime,
    window: int,
    labels: Sequence[str],
    limit: int,
    reviewer: str | None = None,
    reviewers: int = 1,
) -> list[Row]:
    """Answers without votes of users that look wrong or cut off, newest first.

    Answers are left out that `reviewers` people have labelled, or this `reviewer`.
    """
    whose = {"reviewer": reviewer, "reviewers": reviewers}
    among = {"model": model, "since": since, "labelled": since - CLOCKS_DIFFER, "window": window}
    return db.rows("interactions.unsure_answers", **among, **whose, labels=labels, limit=limit)
