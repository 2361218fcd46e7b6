"""Decide whether a request is sent again, and after how long.

A request that changes something is sent again only if the server cannot have acted on it, or if acting twice is the
same as acting once.
"""

import math
from collections.abc import Mapping

import httpx

from loraloop.calls import Call

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
# Too many requests: nothing was done.
NOTHING_DONE = (429,)
# Not ready, a full disk, or a proxy that lost the server, which may have acted.
PERHAPS_DONE = (502, 503, 504)


def wait_after_response(call: Call, status: int, headers: Mapping[str, str], attempt: int, most: int) -> float | None:
    """Seconds until the next attempt, or None if this response is the answer. `attempt` counts from 0."""
    again = status in NOTHING_DONE or (status in PERHAPS_DONE and call.repeatable)
    if not again or attempt >= most:
        return None
    asked = _seconds(headers.get("retry-after", ""))
    if asked is None:
        return _backoff(attempt)
    return asked if asked <= LONGEST_WAIT_S else None


def wait_after_error(call: Call, error: httpx.HTTPError, attempt: int, most: int) -> float | None:
    """Seconds until the next attempt, or None if this error is the end of it."""
    never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    again = never_sent or (call.repeatable and isinstance(error, httpx.TransportError))
    return _backoff(attempt) if again and attempt < most else None


def _backoff(attempt: int) -> float:
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)


def _seconds(text: str) -> float | None:
    """The seconds of a Retry-After header. None without one, and for a date."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
