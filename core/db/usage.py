"""Use of models by keys: requests, errors and tokens per day."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import pyarrow as pa

from core.db.store import Database, Row, Transaction

By = Literal["day", "month"]
Split = Literal["model", "key"]


def add(transaction: Transaction, given: pa.Table) -> None:
    """Count interactions in the use of their days in UTC."""
    transaction.run_table("usage.add", given)


def by_period(
    db: Database,
    *,
    by: By,
    split: Split,
    since: date,
    until: date,
    now: datetime,
    models: Sequence[str] | None = None,
    key: str | None = None,
) -> list[Row]:
    """Use per period and model or key (`name`) on the days from `since` to before `until`.

    `hours` is the part of the hours of these days that the tokens had. A key of "" is none. The cost grows with the
    number of models and keys per day.
    """
    within = {"since": since, "until": until, "now": now.replace(tzinfo=None)}
    only = {"models": list(models) if models is not None else None, "key": key}
    return db.rows("usage.by_period", by=by, split=split, **within, **only)


def idle_hours(db: Database, *, since: date, until: date, now: datetime) -> float:
    """Hours of the days without a token, from the first day that was ever counted."""
    return db.one("usage.idle_hours", since=since, until=until, now=now.replace(tzinfo=None))["hours"]
