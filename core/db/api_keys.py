"""API keys, as hashes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class LiveKey:
    """An API key that was not revoked, with the hashes of its secrets."""

    id: str
    name: str
    digest: str
    scopes: list[str]
    models: list[str] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent: int | None
    expires: datetime | None
    previous_digest: str | None
    previous_until: datetime | None


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """The name of an API key, and the time at which it was revoked."""

    id: str
    name: str
    revoked: datetime | None


def add(
    db: Database,
    *,
    id: str,
    key_name: str,
    digest: str,
    scopes: Sequence[str],
    models: Sequence[str] | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrent: int | None,
    expires: datetime | None,
    created: datetime,
    creator: str,
) -> None:
    """Add an API key."""
    db.run(
        "api_keys.add",
        id=id,
        key_name=key_name,
        digest=digest,
        scopes=scopes,
        models=models,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent=concurrent,
        expires=expires,
        created=created,
        creator=creator,
    )


def all_keys(db: Database) -> list[Row]:
    """Every API key, revoked ones too."""
    return db.rows("api_keys.all_keys")


def live(db: Database) -> list[LiveKey]:
    """Every API key that was not revoked; it may have expired."""
    return [LiveKey(**row) for row in db.rows("api_keys.live")]


def find(db: Database, *, id: str) -> KeyStatus | None:
    """One API key by its id."""
    row = db.maybe("api_keys.find", id=id)
    return KeyStatus(**row) if row else None


def count(db: Database) -> int:
    """Number of API keys."""
    return db.one("api_keys.count")["n"]


def revoke(db: Database, *, time: datetime, id: str) -> None:
    """Revoke an API key."""
    db.run("api_keys.revoke", time=time, id=id)


def rotate(db: Database, *, previous_until: datetime, digest: str, time: datetime, id: str) -> None:
    """Replace the secret of an API key."""
    db.run("api_keys.rotate", previous_until=previous_until, digest=digest, time=time, id=id)
