"""API keys: their format, their scopes, and the grant that gateways check a key with."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from core.errors import InputError
from core.settings import KeySettings

PREFIX = "llk_"
ID_BYTES = 5
SECRET_BYTES = 32
DURATION = re.compile(r"([0-9]{1,6})([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Scope(StrEnum):
    """What a key may do. `admin` manages keys and implies every other scope but `internal`.

    `ops:read` implies `ops:numbers`, which shows no texts of users, and that implies `metrics`.
    """

    INFER = "infer"
    FEEDBACK = "feedback"
    METRICS = "metrics"
    OPS_NUMBERS = "ops:numbers"
    OPS_READ = "ops:read"
    OPS_WRITE = "ops:write"
    ADMIN = "admin"
    INTERNAL = "internal"


# Between gateways and control: a secret of the environment, never a key in the store.
GRANTABLE = tuple(scope for scope in Scope if scope is not Scope.INTERNAL)
IMPLIED = {
    Scope.OPS_NUMBERS: frozenset((Scope.METRICS,)),
    Scope.OPS_READ: frozenset((Scope.METRICS, Scope.OPS_NUMBERS)),
    Scope.ADMIN: frozenset(GRANTABLE),
}


def any_opens(held: Iterable[Scope], scope: Scope) -> bool:
    """Whether one of the scopes is this scope or implies it."""
    return any(each is scope or scope in IMPLIED.get(each, ()) for each in held)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a key may do at one gateway, all of its workers together; None is without limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.requests_per_minute, self.tokens_per_minute, self.concurrent))


@dataclass(frozen=True, slots=True)
class Grant:
    """What is needed to check a key, without its secret. Times are seconds since 1970.

    `models` of None means all; the digest before a rotation is valid until `previous_until`.
    """

    id: str
    digest: str
    scopes: tuple[Scope, ...]
    models: tuple[str, ...] | None = None
    expires: float | None = None
    limits: Limits = field(default_factory=Limits)
    previous_digest: str | None = None
    previous_until: float | None = None

    def opens(self, scope: Scope) -> bool:
        """Whether the key has the scope, or one that implies it."""
        return any_opens(self.scopes, scope)


def new_id() -> str:
    """A short public name for a key; without the underscore that ends it within the key."""
    return secrets.token_hex(ID_BYTES)


def new_secret() -> str:
    """32 random bytes as text."""
    return secrets.token_urlsafe(SECRET_BYTES)


def write_key(identity: str, secret: str) -> str:
    """`llk_<id>_<secret>`, which scanners for leaked secrets can be taught."""
    return f"{PREFIX}{identity}_{secret}"


def read_key(text: str) -> tuple[str, str] | None:
    """The inverse of `write_key`: (id, secret), or None for anything else."""
    if not text.startswith(PREFIX):
        return None
    identity, underscore, secret = text[len(PREFIX) :].partition("_")
    return (identity, secret) if identity and underscore and secret else None


def digest_of(secret: str) -> str:
    """SHA-256 of a secret, in hex.

    A slow hash protects what people choose; 256 random bits cannot be guessed however fast the hash is.
    Headers are read as Latin-1, which gives the bytes back as they came; wider text is no header's.
    """
    return hashlib.sha256(secret.encode("latin-1", "backslashreplace")).hexdigest()


def static_grants(keys: KeySettings) -> tuple[Grant, ...]:
    """The environment's keys. Their grants stay in the process: a person may have chosen a weak one."""
    held = (
        ("environment-app", keys.app, (Scope.INFER, Scope.FEEDBACK)),
        ("environment-ops", keys.ops, (Scope.ADMIN,)),
        ("environment-internal", keys.internal, (Scope.INTERNAL,)),
        ("environment-metrics", keys.metrics, (Scope.METRICS,)),
    )
    return tuple(
        # As its UTF-8 bytes look in a header.
        Grant(identity, digest_of(key.get_secret_value().encode().decode("latin-1")), scopes)
        for identity, key, scopes in held
        if key
    )


def grant_from_dict(data: dict[str, Any]) -> Grant:
    """A grant out of JSON that was made with `dataclasses.asdict`. Raises KeyError, ValueError or TypeError."""
    models = None if data["models"] is None else tuple(data["models"])
    scopes = tuple(Scope(name) for name in data["scopes"])
    return Grant(**(data | {"scopes": scopes, "models": models, "limits": Limits(**data["limits"])}))


def read_duration(text: str) -> timedelta:
    """`90d`, `1h`, `30m`, `45s` or `0`. Raises InputError."""
    if text == "0":
        return timedelta()
    found = DURATION.fullmatch(text)
    if found is None:
        raise InputError(f"{text[:32]!r} is no length of time.", hint="Write it as 90d, 12h, 30m or 45s.")
    return timedelta(**{UNITS[found[2]]: int(found[1])})
