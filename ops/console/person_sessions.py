"""Sessions of people who logged in at an OpenID Connect provider. They are in the store and survive a restart.

Role and models are found again at each request, so that a changed mapping in the settings holds at once.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from core.api_keys import Scope, digest_of
from core.clock import Clock
from core.db import console_sessions
from core.db.store import Store
from core.errors import Forbidden
from core.settings import Settings
from ops.oidc.people import Access, Person, access_of

FORMS = b"forms"


@dataclass(frozen=True, slots=True)
class PersonSession:
    """Somebody who logged in at the provider. `name` is the cookie's value."""

    name: str = field(repr=False)
    person: Person
    access: Access

    @property
    def token(self) -> str:
        """What a form must carry to be ours. It follows from the cookie, which only the browser has."""
        return hmac.new(self.name.encode("utf-8", "replace"), FORMS, hashlib.sha256).hexdigest()

    def permit(self, scope: Scope) -> "PersonPermit":
        """The permit of a request. Raises Forbidden."""
        if not self.access.opens(scope):
            raise Forbidden(
                f"Your role {self.access.role} lacks the scope {scope}.",
                hint="login.oidc.roles in control's settings gives each group its role.",
            )
        return PersonPermit(self)


@dataclass(slots=True)
class PersonPermit:
    """The permit of a person's request, in the form of a key's. People have no limits of use."""

    session: PersonSession
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def key_id(self) -> str:
        """The person's short name, where a key has its id."""
        return self.session.person.id

    @property
    def models(self) -> tuple[str, ...] | None:
        """The models that the person may see; None is all."""
        return self.session.access.models

    def require_model(self, model: str) -> None:
        """Raises Forbidden unless the person may see this model."""
        if self.models is not None and model not in self.models:
            raise Forbidden(
                f"Your groups do not open the model {model[:64]!r}.", hint="login.oidc.models names models by group."
            )

    def opens(self, scope: Scope) -> bool:
        """Whether the person's role has another scope too."""
        return self.session.access.opens(scope)

    def release(self, tokens: int = 0) -> None:
        """Nothing is counted."""


class PersonSessions:
    """The sessions in the store. The store has only the SHA-256 of each cookie. Several threads may use it."""

    def __init__(self, *, store: Store, settings: Callable[[], Settings], clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    @property
    def seconds(self) -> int:
        """How long a session lasts."""
        return round(self._settings().control.session_hours * 3600)

    def begin(self, person: Person, access: Access) -> PersonSession:
        """A new session with a new cookie. Sessions that have expired are deleted first."""
        oidc = self._settings().login.oidc
        session = PersonSession(secrets.token_urlsafe(32), person, access)
        now = self._clock()
        with self._store.transaction() as transaction:
            console_sessions.delete_expired(transaction, now=now)
            console_sessions.add(
                transaction,
                digest=digest_of(session.name),
                issuer=person.issuer,
                subject=person.subject,
                email=person.email,
                groups=[group for group in person.groups if oidc and group in oidc.roles],
                began=now,
                expires=now + timedelta(seconds=self.seconds),
            )
        return session

    def find(self, name: str) -> PersonSession | None:
        """The session of a cookie, if it goes on and the settings of now still give the person a role."""
        oidc = self._settings().login.oidc
        if oidc is None:
            return None
        row = console_sessions.find(self._store, digest=digest_of(name), now=self._clock())
        if row is None or row.issuer != oidc.issuer:
            return None
        access = access_of(row.groups, oidc)
        if access.role is None:
            return None
        return PersonSession(name, Person(row.issuer, row.subject, row.email, tuple(row.groups)), access)

    def end(self, session: PersonSession) -> None:
        """Logs out."""
        console_sessions.delete(self._store, digest=digest_of(session.name))
