"""Log-ins at the console by an OpenID Connect provider, by the SHA-256 of their cookies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database


@dataclass(frozen=True, slots=True)
class SessionRow:
    """Who logged in, with the groups that had a role then."""

    issuer: str
    subject: str
    email: str
    groups: list[str]


def add(
    db: Database,
    *,
    digest: str,
    issuer: str,
    subject: str,
    email: str,
    groups: Sequence[str],
    began: datetime,
    expires: datetime,
) -> None:
    """Add a session."""
    db.run(
        "console_sessions.add",
        digest=digest,
        issuer=issuer,
        subject=subject,
        email=email,
        groups=list(groups),
        began=began,
        expires=expires,
    )


def find(db: Database, *, digest: str, now: datetime) -> SessionRow | None:
    """The session of a cookie, None if there is none or it has expired."""
    row = db.maybe("console_sessions.find", digest=digest, now=now)
    return SessionRow(**row) if row else None


def delete(db: Database, *, digest: str) -> None:
    """Delete the session of a cookie."""
    db.run("console_sessions.delete", digest=digest)


def delete_expired(db: Database, *, now: datetime) -> None:
    """Delete the sessions that have expired."""
    db.run("console_sessions.delete_expired", now=now)


def delete_all(db: Database) -> None:
    """Delete every session."""
    db.run("console_sessions.delete_all")
