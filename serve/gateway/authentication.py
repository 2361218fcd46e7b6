"""Check API keys, their scopes and their limits, in memory and for one event loop.

Each gateway counts limits separately. serve/workers/limits.py counts for all workers of one.
"""

import hmac
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from core.api_keys import Grant, Limits, Scope, digest_of, read_key, static_grants
from core.clock import Clock, utc_now
from core.errors import Forbidden, KeyRefused, LimitReached
from core.settings import Settings

# No key is longer; what is gets no hash.
LONGEST_HEADER = 1024
# Headers that were verified lately. Only right keys get in, so that only holders of keys can fill it.
REMEMBERED = 4096
MINUTE = 60.0
# When somebody's request ends cannot be known; trying again soon is right.
CONCURRENT_WAIT_SECONDS = 1.0
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
FOREVER = math.inf
ANYONE = Grant("anyone", "", (Scope.ADMIN,))


class TokenBucket:
    """A token bucket that holds a minute's worth and fills evenly; `name` is what it counts."""

    def __init__(self, name: str, a_minute: int, now: float) -> None:
        self.limit = f"{a_minute} {name} a minute"
        self._capacity = a_minute
        self._rate = a_minute / MINUTE
        self._level = float(a_minute)
        self._at = now
        self._names = [f"x-ratelimit-{part}-{name}" for part in ("limit", "remaining", "reset")]

    @property
    def state(self) -> tuple[float, float]:
        """The level, and when it was so."""
        return self._level, self._at

    def restore(self, level: float, at: float) -> None:
        """Takes another state."""
        self._level, self._at = level, at

    def fill(self, now: float) -> None:
        """Makes it full."""
        self._level, self._at = float(self._capacity), now

    def level(self, now: float) -> float:
        """What is in it; below zero after an answer that cost more than there was. A clock put back adds nothing."""
        if now > self._at:
            self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        """Takes out, below zero if need be: the debt is at most one full bucket."""
        self._level = min(float(self._capacity), max(-float(self._capacity), self._level - amount))

    def affordable(self, amount: float) -> float:
        """The level that a request needs which takes so much: a full bucket is enough for any."""
        return min(amount, self._capacity)

    def seconds_until(self, level: float) -> float:
        """How long it takes to be so full."""
        return max(0.0, (level - self._level) / self._rate)

    def tell(self, headers: dict[str, str]) -> None:
        """Adds its state as OpenAI tells it; `reset` is when it is full."""
        limit, remaining, reset = self._names
        headers[limit] = str(self._capacity)
        headers[remaining] = str(max(0, math.floor(self._level)))
        headers[reset] = _duration(self.seconds_until(self._capacity))


class KeyLimits:
    """What one key has used of its limits."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self._flying = 0
        self._requests = _bucket("requests", limits.requests_per_minute, now)
        self._tokens = _bucket("tokens", limits.tokens_per_minute, now)

    def enter(self, now: float) -> dict[str, str]:
        """Counts a request in and returns the headers that tell what is left. Raises LimitReached."""
        if self._requests and self._requests.level(now) < 1:
            self._refuse(self._requests.limit, self._requests.seconds_until(1))
        # What a request may cost is reserved once its body is read.
        if self._tokens and self._tokens.level(now) < 0:
            self._refuse(self._tokens.limit, self._tokens.seconds_until(0))
        if self.limits.concurrent is not None and self._flying >= self.limits.concurrent:
            self._refuse(f"{self.limits.concurrent} requests at once", CONCURRENT_WAIT_SECONDS)
        if self._requests:
            self._requests.take(1)
        self._flying += 1
        return self.headers()

    def reserve(self, tokens: int, now: float) -> float:
        """Takes what a request may cost, at most a full bucket, and returns how much. Raises LimitReached."""
        needed = 0.0
        if self._tokens:
            needed = self._tokens.affordable(tokens)
            if self._tokens.level(now) < needed:
                if self._requests:
                    self._requests.take(-1)  # a refused request does not count
                self._refuse(self._tokens.limit, self._tokens.seconds_until(needed))
            self._tokens.take(needed)
        return needed

    def leave(self, tokens: float) -> None:
        """Counts a request out and charges what it cost beyond its reservation, or gives back the rest."""
        self._flying -= 1
        if self._tokens:
            self._tokens.take(tokens)

    def headers(self) -> dict[str, str]:
        """The headers that say what is left."""
        found: dict[str, str] = {}
        for bucket in (self._requests, self._tokens):
            if bucket:
                bucket.tell(found)
        return found

    def _refuse(self, limit: str, wait_s: float) -> NoReturn:
        raise LimitReached(
            f"This key may do {limit}.",
            hint="Wait for the time in Retry-After.",
            retry_after_s=wait_s,
            headers=self.headers(),
        )


# Makes what counts the use of a key's limits, from now on.
Meter = Callable[[Grant, float], KeyLimits]


class RequestPermit:
    """The permit of an accepted request. Its holder releases it once, when the answer is over."""

    __slots__ = ("_grant", "_meter", "_reserved", "_ticks", "headers")

    def __init__(
        self, grant: Grant, meter: KeyLimits | None, headers: Mapping[str, str], ticks: Callable[[], float]
    ) -> None:
        self._grant = grant
        self._meter = meter
        self._ticks = ticks
        self._reserved = 0.0
        self.headers = headers

    @property
    def key_id(self) -> str:
        """The public id of the key that opened."""
        return self._grant.id

    @property
    def is_metered(self) -> bool:
        """Whether the key has limits."""
        return self._meter is not None

    def opens(self, scope: Scope) -> bool:
        """Whether the key has another scope too."""
        return self._grant.opens(scope)

    @property
    def models(self) -> tuple[str, ...] | None:
        """The models that the key may ask; None is all."""
        return self._grant.models

    def allows(self, model: str) -> bool:
        """Whether the key may ask this model."""
        return self._grant.models is None or model in self._grant.models

    def require_model(self, model: str) -> None:
        """Raises Forbidden unless the key may ask this model."""
        if not self.allows(model):
            raise _no_model(model)

    def reserve(self, tokens: int) -> None:
        """Reserves the tokens that the request may use, prompt and answer together. Raises LimitReached."""
        if self._meter is not None:
            self._reserved = self._meter.reserve(tokens, self._ticks())
            self.headers = self._meter.headers()

    def release(self, tokens: int = 0) -> None:
        """Ends the request and charges its tokens, prompt and answer together, instead of the reserved ones."""
        if self._meter is not None:
            self._meter.leave(tokens - self._reserved)
            self._meter = None


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """A header that was verified: whose it is, until when, and the pass that all its requests share if unmetered."""

    grant: Grant
    until: float
    meter: KeyLimits | None
    shared: RequestPermit


class KeyChecker:
    """Checks keys against the grants of now. Not for several threads."""

    def __init__(
        self,
        *,
        keys: Callable[[], tuple[Grant, ...]],
        static: tuple[Grant, ...] = (),
        anyone: Grant | None = None,
        clock: Clock = utc_now,
        ticks: Callable[[], float] = time.monotonic,
        meter: Meter | None = None,
    ) -> None:
        self._ticks = ticks
        self._new_meter = meter or (lambda grant, now: KeyLimits(grant.limits, now))
        self._keys = keys
        self._static = static
        self._anyone = anyone
        self._clock = clock
        self._seen: tuple[Grant, ...] = ()
        self._by_id: dict[str, Grant] = {}
        self._known: dict[str | None, VerifiedKey] = {}
        self._meters: dict[str, KeyLimits] = {}

    def let_anyone(self, anyone: bool) -> None:
        """Accept requests without a key, or reject them."""
        self._anyone = ANYONE if anyone else None

    def admit(self, authorization: str | None, scope: Scope, model: str | None = None) -> RequestPermit:
        """Lets a request in. Raises KeyRefused, or Forbidden or LimitReached with the id of the key."""
        keys = self._keys()
        if keys is not self._seen:
            self._take(keys)
        # A dictionary compares hashes keyed at random first, so its lookup tells nothing by its time.
        holder = self._known.get(authorization)
        if holder is None or (holder.until != FOREVER and self._clock().timestamp() >= holder.until):
            holder = self._verify(authorization, self._clock().timestamp())
        grant = holder.grant
        try:
            if not grant.opens(scope):
                raise Forbidden(f"This key lacks the scope {scope}.", hint="Use a key that has it.")
            if model is not None:
                holder.shared.require_model(model)
            if holder.meter is None:
                return holder.shared
            return RequestPermit(grant, holder.meter, holder.meter.enter(self._ticks()), self._ticks)
        except (Forbidden, LimitReached) as error:
            error.key_id = grant.id
            raise

    def _take(self, keys: tuple[Grant, ...]) -> None:
        """Replace the grants. Verified keys are checked again; used limits still count."""
        self._seen = keys
        self._by_id = {grant.id: grant for grant in keys}
        self._known.clear()
        self._meters = {identity: meter for identity, meter in self._meters.items() if identity in self._by_id}

    def _verify(self, authorization: str | None, now: float) -> VerifiedKey:
        self._known.pop(authorization, None)
        key = _bearer(authorization)
        grant, until = self._find(key, now) if key else (None, 0.0)
        if grant is None:
            grant, until = self._anyone, 0.0  # not remembered: there are endless wrong keys
        if grant is None:
            raise KeyRefused(
                "The API key is missing, wrong or no longer valid.",
                hint="Send Authorization: Bearer with your key.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        meter = self._meter(grant)
        holder = VerifiedKey(grant, until, meter, RequestPermit(grant, None, NO_HEADERS, self._ticks))
        if until > now:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[authorization] = holder
        return holder

    def _find(self, key: str, now: float) -> tuple[Grant | None, float]:
        """The grant of a key and when to look again, or none."""
        parts = read_key(key)
        grant = self._by_id.get(parts[0]) if parts else None
        if parts and grant:
            until = _valid_until(grant, digest_of(parts[1]))
            if until is not None and now < until:
                return grant, until
        digest = digest_of(key)
        for each in self._static:
            if hmac.compare_digest(digest, each.digest):
                return each, FOREVER
        return None, 0.0

    def _meter(self, grant: Grant) -> KeyLimits | None:
        if not grant.limits:
            return None
        meter = self._meters.get(grant.id)
        if meter is None or meter.limits != grant.limits:
            meter = self._meters[grant.id] = self._new_meter(grant, self._ticks())
        return meter


def create_key_checker(
    settings: Settings, *, keys: Callable[[], tuple[Grant, ...]], clock: Clock = utc_now, meter: Meter | None = None
) -> KeyChecker:
    """Return the key checker of an app: keys of the store and the environment, or open access by the settings."""
    anyone = ANYONE if settings.access == "open" else None
    return KeyChecker(keys=keys, static=static_grants(settings.keys), anyone=anyone, clock=clock, meter=meter)


def _bucket(name: str, a_minute: int | None, now: float) -> TokenBucket | None:
    return None if a_minute is None else TokenBucket(name, a_minute, now)


def _bearer(authorization: str | None) -> str | None:
    if authorization is None or len(authorization) > LONGEST_HEADER:
        return None
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _valid_until(grant: Grant, digest: str) -> float | None:
    """Until when a secret of this digest opens, or None if it is not the grant's. Both digests are always compared."""
    expires = FOREVER if grant.expires is None else grant.expires
    is_new = hmac.compare_digest(digest, grant.digest)
    is_old = hmac.compare_digest(digest, grant.previous_digest or "")
    if is_new:
        return expires
    return min(expires, grant.previous_until or 0.0) if is_old else None


def _no_model(model: str) -> Forbidden:
    return Forbidden(f"This key may not use the model {model[:64]!r}.", hint="See GET /v1/models, or ask for a key.")


def _duration(seconds: float) -> str:
    """As OpenAI writes it: 20ms, 8.64s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < MINUTE:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"
