"""The report of usage: requests, errors, tokens and cost per day or month, by model or by key.

It reads the table with one row per model, key and day, so its cost does not grow with the number of requests.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from core.clock import Clock
from core.db import usage
from core.db.store import Store
from core.db.usage import By, Split
from core.errors import InputError
from ops.serving_costs import Prices
from ops.views import View

DAYS = 30
MONTHS = 12
COUNTS = ("requests", "errors", "prompt_tokens", "completion_tokens", "tokens")


def first_day(by: By, now: datetime) -> date:
    """The first day of the last DAYS days, or of the last MONTHS months with this one."""
    if by == "day":
        return (now - timedelta(days=DAYS)).date()
    months = 12 * now.year + now.month - MONTHS
    return date(months // 12, months % 12 + 1, 1)


def report(
    store: Store,
    prices: Prices,
    clock: Clock,
    *,
    by: By = "day",
    split: Split = "model",
    models: Sequence[str] | None = None,
    key: str | None = None,
    since: date | None = None,
    until: date | None = None,
    with_unused: bool = False,
) -> View:
    """Use per period and model or key, from the day `since` to before `until`, and their sum.

    `models` of None are all, with those that the settings do not have any more. `with_unused` adds the cost of days
    without a token. Raises InputError.
    """
    now = clock()
    since, until = since or first_day(by, now), until or (now + timedelta(days=1)).date()
    if since >= until:
        raise InputError(f"since: {since} is not before {until}.", hint="Name an earlier day, or leave it out.")
    within = {"since": since, "until": until, "now": now}
    found = usage.by_period(store, by=by, split=split, models=models, key=key, **within)
    rows = [_row(row, by, split, prices) for row in found]
    counts_unused = with_unused and prices.basis == "hours"
    unused = prices.cost(0, 0, usage.idle_hours(store, **within)) if counts_unused else None
    return {
        "by": by,
        "split": split,
        "since": since,
        "until": until,
        "rows": rows,
        "total": added(rows, prices),
        "priced_by": prices.basis,
        "unused_cost": unused,
        "how": list(prices.sentences),
    }


def added(rows: Sequence[View], prices: Prices) -> View:
    """The sums of rows."""
    cost = None if prices.basis is None else sum(row["cost"] for row in rows)
    return {name: sum(row[name] for row in rows) for name in COUNTS} | {"cost": cost}


def _row(row: View, by: By, split: Split, prices: Prices) -> View:
    period = row["period"].isoformat()
    prompt, completion = row["prompt_tokens"], row["completion_tokens"]
    return {
        "period": period if by == "day" else period[:7],
        split: row["name"] or None,
        "requests": row["requests"],
        "errors": row["errors"],
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "tokens": prompt + completion,
        "cost": prices.cost(prompt, completion, row["hours"]),
    }
