"""Create, rotate and revoke the API keys in the store, and publish their grants after each change.

Secrets exist only until they are returned; the store has their hashes. Requests are checked in `serve.gateway`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from core import audit_log
from core.acts import Act
from core.api_keys import GRANTABLE, Grant, Limits, Scope, digest_of, new_id, new_secret, write_key
from core.audit_log import Entry
from core.clock import Clock
from core.db import api_keys
from core.db.store import Store, Transaction
from core.errors import AlreadyDone, InputError, NotFound

FIRST_START = "first start"
Changed = Callable[[tuple[Grant, ...]], None]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made: whose it is, what it opens, and for how long."""

    name: str
    scopes: tuple[Scope, ...]
    models: tuple[str, ...] | None = None
    lifetime: timedelta | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just made; it cannot be had again."""

    id: str
    key: str = field(repr=False)


def _nobody(_: tuple[Grant, ...]) -> None:
    """For a keyring that nobody follows."""


class ApiKeyStore:
    """The store's keys. `changed` is called with all grants at the start and after every change."""

    def __init__(self, *, store: Store, clock: Clock, changed: Changed = _nobody) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        # Two changes at once must not publish the older of their two states last.
        self._publishing = threading.Lock()
        self.grants: tuple[Grant, ...] = ()
        self._names: dict[str, str] = {}
        self._publish()

    def make(self, request: NewKey, creator: str) -> IssuedKey:
        """Makes a key. Raises InputError for a scope that a key cannot have."""
        with self._store.transaction() as transaction:
            made = self._add(transaction, request, creator)
        self._publish()
        return made

    def _add(self, transaction: Transaction, request: NewKey, creator: str) -> IssuedKey:
        if not request.scopes or not set(request.scopes) <= set(GRANTABLE):
            raise InputError(f"scopes: a key takes one or more of: {', '.join(GRANTABLE)}.")
        identity, secret, now = new_id(), new_secret(), self._clock()
        api_keys.add(
            transaction,
            id=identity,
            key_name=request.name,
            digest=digest_of(secret),
            scopes=[str(scope) for scope in request.scopes],
            models=None if request.models is None else list(request.models),
            requests_per_minute=request.limits.requests_per_minute,
            tokens_per_minute=request.limits.tokens_per_minute,
            concurrent=request.limits.concurrent,
            created=now,
            creator=creator,
            expires=None if request.lifetime is None else now + request.lifetime,
        )
        return IssuedKey(identity, write_key(identity, secret))

    def make_first(self) -> IssuedKey | None:
        """An admin key for a store that never had any key, or None. Revoked ones count: they were had by somebody.

        The key and its row of the audit log are written together: a key whose secret was never shown would be the last.
        """
        if api_keys.count(self._store):
            return None
        with self._store.transaction() as transaction:
            made = self._add(transaction, NewKey("first", (Scope.ADMIN,)), FIRST_START)
            audit_log.append(transaction, [Entry(self._clock(), Act.KEYS_CREATE, actor=FIRST_START, thing=made.id)])
        self._publish()
        return made

    def rotate(self, identity: str, grace: timedelta) -> IssuedKey:
        """Gives a key a new secret; the old one opens for the grace that is left. Raises NotFound or AlreadyDone."""
        self._require(identity)
        secret, now = new_secret(), self._clock()
        api_keys.rotate(self._store, id=identity, digest=digest_of(secret), time=now, previous_until=now + grace)
        self._publish()
        return IssuedKey(identity, write_key(identity, secret))

    def revoke(self, identity: str) -> None:
        """Revoke a key permanently. Raises NotFound, or AlreadyDone if it is revoked already."""
        self._require(identity)
        api_keys.revoke(self._store, id=identity, time=self._clock())
        self._publish()

    def all(self) -> list[dict[str, Any]]:
        """Every key that ever was, newest first, without anything of its secret."""
        return api_keys.all_keys(self._store)

    def one(self, identity: str) -> dict[str, Any]:
        """One key as `all` has it. Raises NotFound."""
        for row in self.all():
            if row["id"] == identity:
                return row
        raise _unknown(identity)

    def name_of(self, identity: str) -> str:
        """The name that a live key was made under; any other is its own."""
        return self._names.get(identity, identity)

    def actor_of(self, identity: str) -> str:
        """How the ledger calls who holds a key. The id is what was verified; the name is for those who read."""
        name = self.name_of(identity)
        return f"{name} (key {identity})" if name != identity else identity

    def _require(self, identity: str) -> None:
        row = api_keys.find(self._store, id=identity)
        if row is None:
            raise _unknown(identity)
        if row.revoked:
            raise AlreadyDone(f"The key {identity} is revoked already.", hint="See: loraloop keys list")

    def _publish(self) -> None:
        with self._publishing:
            live = api_keys.live(self._store)
            self._names = {row.id: row.name for row in live}
            self.grants = tuple(_grant(row) for row in live)
            self._changed(self.grants)


def _unknown(identity: str) -> NotFound:
    return NotFound("key", identity, hint="See: loraloop keys list")


def _grant(row: api_keys.LiveKey) -> Grant:
    return Grant(
        id=row.id,
        digest=row.digest,
        scopes=tuple(Scope(name) for name in row.scopes),
        models=None if row.models is None else tuple(row.models),
        expires=_seconds(row.expires),
        limits=Limits(row.requests_per_minute, row.tokens_per_minute, row.concurrent),
        previous_digest=row.previous_digest,
        previous_until=_seconds(row.previous_until),
    )


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
