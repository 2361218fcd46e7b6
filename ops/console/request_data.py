"""Requests as the page lists them: newest first, filtered, without texts.

It owns how far back one page looks. A page reads 30 days at most, so that a filter that fits nothing ends.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.db import interactions
from core.db.store import Store
from ops.views import View

# Windows before the newest request to show, tried from the shortest on, until one has a page of requests.
WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=30))
# Sorts after every id of an interaction, which are printable ASCII.
LAST_ID = "\x7f"
Outcome = Literal["failed", "refused", "answered"]
# The lowest and the highest status of each outcome.
STATUSES: dict[Outcome | None, tuple[int, int]] = {
    None: (0, 999),
    "answered": (0, 399),
    "refused": (400, 499),
    "failed": (500, 999),
}

OUTCOMES: tuple[Outcome, ...] = ("answered", "refused", "failed")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests to list; None leaves a part open. (`before`, `before_id`) is where to go on."""

    model: str | None = None
    version: int | None = None
    outcome: Outcome | None = None
    user: str | None = None
    key: str | None = None
    least_ms: float | None = None
    before: datetime | None = None
    before_id: str | None = None


def page(store: Store, wanted: Wanted, limit: int, now: datetime) -> View:
    """A page of requests and where the next one begins. `searched` is how far back this one looked."""
    before, low_high = wanted.before or now + timedelta(hours=1), STATUSES[wanted.outcome]
    found, since = list[View](), before
    for window in WINDOWS:
        since = before - window
        found = interactions.page(
            store,
            since=since,
            before=before,
            before_id=wanted.before_id or LAST_ID,
            model=wanted.model,
            version=wanted.version,
            user=wanted.user,
            key=wanted.key,
            least_ms=wanted.least_ms,
            lowest=low_high[0],
            highest=low_high[1],
            limit=limit + 1,
        )
        if len(found) > limit:
            break
    shown = found[:limit]
    more = {"before": shown[-1]["time"], "before_id": shown[-1]["id"]} if len(found) > limit else None
    return {"requests": shown, "next": more, "searched": since}
