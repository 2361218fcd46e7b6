"""Log-ins that have begun: what each must bring back from the provider, for a few minutes and once.

They stay in memory: after a restart of control, people begin again.
"""

import hmac
import secrets
import threading
from dataclasses import dataclass, field

from core.api_keys import digest_of
from core.clock import Clock

SECONDS = 600
# Old ones give way to new ones. One has about a kilobyte.
MOST_PENDING = 10_000


@dataclass(frozen=True, slots=True)
class Pending:
    """A log-in that has begun. `browser` is the value of its cookie, `until` seconds since 1970."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    browser: str = field(repr=False)
    onward: str
    until: float


class PendingLogins:
    """The log-ins that have begun in this process. Several threads may use it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, Pending] = {}
        self._lock = threading.Lock()

    def begin(self, onward: str) -> Pending:
        """A new log-in that leads to the path `onward`. Each of its secrets has 256 random bits."""
        now = self._clock().timestamp()
        made = Pending(*(secrets.token_urlsafe(32) for _ in range(4)), onward=onward, until=now + SECONDS)
        with self._lock:
            if len(self._open) >= MOST_PENDING:
                self._open = {state: each for state, each in self._open.items() if each.until > now}
            while len(self._open) >= MOST_PENDING:
                self._open.pop(next(iter(self._open)))
            self._open[digest_of(made.state)] = made
        return made

    def take(self, state: str, browser: str) -> Pending | None:
        """Remove and return the log-in of a state. None if it is not of this browser, taken before, or too old."""
        key = digest_of(state)
        with self._lock:
            found = self._open.get(key)
            if found is None or not hmac.compare_digest(digest_of(browser), digest_of(found.browser)):
                return None
            del self._open[key]
        return found if found.until > self._clock().timestamp() else None
