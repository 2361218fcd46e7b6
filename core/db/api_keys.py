"""API keys, as hashes."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row


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


def live(db: Database) -> list[Row]:
    """Every API key that is valid now or later."""
    return db.rows("api_keys.live")


def find(db: Database, *, id: str) -> Row | None:
    """One API key by its id."""
    return db.maybe("api_keys.find", id=id)


def count(db: Database) -> Row:
    """Number of API keys."""
    return db.one("api_keys.count")


def revoke(db: Database, *, time: datetime, id: str) -> None:
    """Revoke an API key."""
    db.run("api_keys.revoke", time=time, id=id)


def rotate(db: Database, *, previous_until: datetime, digest: str, time: datetime, id: str) -> None:
    """Replace the secret of an API key."""
    db.run("api_keys.rotate", previous_until=previous_until, digest=digest, time=time, id=id)
