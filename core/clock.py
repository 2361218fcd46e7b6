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
