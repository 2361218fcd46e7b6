"""People: who a provider says that somebody is, and which role and models their groups give. Pure functions."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from core.api_keys import Scope, any_opens
from core.errors import LoginRefused
from core.settings import OidcSettings, Role

ROLES: tuple[Role, ...] = get_args(Role)
SCOPES: dict[Role, tuple[Scope, ...]] = {
    "observer": (Scope.OPS_NUMBERS,),
    "viewer": (Scope.OPS_READ,),
    "operator": (Scope.OPS_READ, Scope.OPS_WRITE),
    "admin": (Scope.ADMIN,),
}
# OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
LONGEST_SUBJECT = 255
LONGEST_EMAIL = 254
# Without spaces and brackets, which could make an address look like another actor, such as "boss (person 1)".
EMAIL = re.compile(r"[^\s()<>@,;]+@[^\s()<>@,;]+")
# Maximum number of groups in a sentence. Some providers send hundreds.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Person:
    """Who logged in. `issuer` and `subject` are what was verified; the address is for those who read."""

    issuer: str
    subject: str
    email: str
    groups: tuple[str, ...]

    @property
    def id(self) -> str:
        """A short name that is always the same for this person, for places that have the id of a key."""
        digest = hashlib.sha256(f"{self.issuer}\0{self.subject}".encode()).hexdigest()
        return f"person-{digest[:16]}"

    @property
    def name(self) -> str:
        """How pages call them."""
        return self.email or self.subject

    @property
    def actor(self) -> str:
        """How ledger and audit log call them."""
        return f"{self.email} (person {self.subject})" if self.email else f"person {self.subject}"


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do, and why. A role of None is no access; models of None are all."""

    role: Role | None
    models: tuple[str, ...] | None
    reason: str

    def opens(self, scope: Scope) -> bool:
        """Whether the role has a scope, or one that implies it."""
        return any_opens(SCOPES[self.role] if self.role else (), scope)


def person_of(claims: Mapping[str, Any], issuer: str, groups_claim: str) -> Person:
    """The person of verified claims. Raises LoginRefused for claims that cannot be used."""
    subject, email = claims.get("sub"), claims.get("email")
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not _is_plain(subject):
        raise LoginRefused("The provider's token has no usable subject.")
    # An address that the provider did not verify may be somebody else's.
    usable = (
        isinstance(email, str)
        and len(email) <= LONGEST_EMAIL
        and email.isprintable()
        and EMAIL.fullmatch(email) is not None
        and claims.get("email_verified", True) in (True, "true")  # some providers send booleans as text
    )
    return Person(issuer, subject, str(email) if usable else "", _groups(claim_of(claims, groups_claim)))


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by a path of names with dots. None if there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def access_of(groups: Sequence[str], settings: OidcSettings) -> Access:
    """The role and the models that groups give.

    The strongest role counts, on the models of the groups that give it: a strong role on one model and a weak one on
    all must not become the strong one on all.
    """
    known = [group for group in groups if group in settings.roles]
    if not known:
        return Access(None, (), _nothing(groups, settings))
    held = {settings.roles[group] for group in known}
    role: Role = next(each for each in reversed(ROLES) if each in held)
    giving = sorted(group for group in known if settings.roles[group] == role)
    everywhere = [group for group in giving if group not in settings.models]
    if everywhere:
        return Access(role, None, f"{everywhere[0]} gives the role {role} on all models.")
    models = tuple(sorted({model for group in giving for model in settings.models[group]}))
    return Access(role, models, f"{_named(giving)} gives the role {role} on {', '.join(models)}.")


def _nothing(groups: Sequence[str], settings: OidcSettings) -> str:
    claim = settings.groups_claim
    if not groups:
        return (
            f"The provider sent no groups in the claim {claim}. The provider must put this claim into the ID token or "
            "the answer of its userinfo endpoint, or login.oidc.groups_claim must name another one."
        )
    return f"The provider sent the groups {_named(groups)} in the claim {claim}. login.oidc.roles gives none a role."


def _named(groups: Sequence[str]) -> str:
    more = len(groups) - MOST_NAMED
    said = ", ".join(group[:80] for group in groups[:MOST_NAMED])
    return f"{said} and {more} more" if more > 0 else said


def _groups(value: Any) -> tuple[str, ...]:
    """Groups, each once. A single one may come without a list."""
    listed = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(group for group in listed if isinstance(group, str) and group))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
