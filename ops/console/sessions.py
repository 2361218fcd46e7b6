"""Sessions: who is logged in at the console, as random names for keys that stay in control's memory.

It owns their life and the tokens of their forms; the access check verifies the key again with
each request, so that a session ends with its key.
"""

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass, field

from core.clock import Clock
from core.errors import LimitReached
from serve.gateway.authentication import TokenBucket

# Old sessions give way to new ones; only holders of keys can make any.
MOST_SESSIONS = 1000
MOST_ADDRESSES = 4096
FAILURES_A_MINUTE = 10
NOBODY = ""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who showed a key. `name` is the cookie's value, `until` seconds since 1970."""

    name: str = field(repr=False)
    authorization: str = field(repr=False)
    until: float


class Sessions:
    """The sessions of this process; a restart ends them all."""

    def __init__(self, *, hours: float, clock: Clock) -> None:
        self.seconds = round(hours * 3600)
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._open: dict[str, Session] = {}
        self._failures: dict[str, TokenBucket] = {}
        self._lock = threading.Lock()

    def begin(self, key: str) -> Session:
        """A new session for a key that the access check admitted."""
        now = self._clock().timestamp()
        session = Session(secrets.token_urlsafe(32), f"Bearer {key}", now + self.seconds)
        with self._lock:
            self._open = {name: each for name, each in self._open.items() if each.until > now}
            while len(self._open) >= MOST_SESSIONS:
                self._open.pop(next(iter(self._open)))
            self._open[session.name] = session
        return session

    def find(self, name: str | None) -> Session | None:
        """The session that a cookie names, if it goes on."""
        session = self._open.get(name or NOBODY)
        return session if session and session.until > self._clock().timestamp() else None

    def end(self, session: Session) -> None:
        """Logs out."""
        with self._lock:
            self._open.pop(session.name, None)

    def token(self, session: Session | None) -> str:
        """What a form must carry to be ours: only a page of this session has it."""
        name = session.name if session else NOBODY
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    def may_try(self, address: str) -> None:
        """Raises LimitReached for an address that has lately shown too many wrong keys."""
        with self._lock:
            bucket = self._failures.get(address) or self._failures.get(NOBODY)
            if bucket and bucket.level(self._clock().timestamp()) < 1:
                raise LimitReached(
                    f"Too many wrong keys: {bucket.limit}.",
                    hint="Wait a little, then try again.",
                    retry_after_s=bucket.seconds_until(1),
                )

    def failed(self, address: str) -> None:
        """Counts a wrong key."""
        now = self._clock().timestamp()
        with self._lock:
            if len(self._failures) >= MOST_ADDRESSES:
                recent = {each: own for each, own in self._failures.items() if own.level(now) < FAILURES_A_MINUTE}
                self._failures = recent
            # When too many addresses fail at once, those that come new share one bucket.
            shares = address not in self._failures and len(self._failures) >= MOST_ADDRESSES
            place = NOBODY if shares else address
            bucket = self._failures.setdefault(place, TokenBucket("tries", FAILURES_A_MINUTE, now))
            bucket.level(now)
            bucket.take(1)
