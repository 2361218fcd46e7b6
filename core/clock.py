"""The clock and the ids, so that tests can set the time and predict ids.

Values in the store get their time only from here.
"""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time now, timezone-aware, in UTC."""
    return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """A new id that sorts by its time: prefix, milliseconds since 1970 in hex, 48 random bits."""
    return f"{prefix}-{int(time.time() * 1000):011x}{secrets.token_hex(6)}"


def unguessable_id() -> str:
    """A new id that sorts by its time, for what only those who know the id may name: milliseconds and 128 random bits.

    Ids that are near each other in time are near each other in the store's index, which makes them faster to add.
    """
    return f"{int(time.time() * 1000):011x}{secrets.token_hex(16)}"
