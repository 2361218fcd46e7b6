"""Settings of the log-in at the console by an OpenID Connect provider."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from core.settings.address import is_loopback
from core.settings.section import Section

# From the weakest to the strongest: reads, acts too, sees and does everything.
Role = Literal["observer", "viewer", "operator", "admin"]
MAIN_SCOPE = "openid"


def _issuer(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL; write it as the provider does, such as https://id.example.com/realms/ops")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("an issuer has no user, no query and no fragment")
    if parts.scheme == "http" and not is_loopback(f"{parts.hostname}:1"):
        raise ValueError(f"{url!r} is not encrypted; use https, or http on a loopback address")
    return url


class OidcSettings(Section):
    """A provider of OpenID Connect. People log in there, and their groups say what they may do."""

    issuer: Annotated[str, AfterValidator(_issuer)] = Field(
        description="URL of the provider, exactly as its discovery document has it. https, except on loopback."
    )
    client_id: str = Field(
        min_length=1,
        description="Id of LoraLoop at the provider. Its secret is in LORALOOP_OIDC_CLIENT_SECRET.",
    )
    scopes: list[str] = Field(
        default=["openid", "email", "profile"],
        description="Scopes of the request to the provider. `openid` is required; some need `groups` too.",
    )
    groups_claim: str = Field(
        default="groups",
        min_length=1,
        description="Claim with a person's groups. Dots lead into nested claims, for example `realm_access.roles`.",
    )
    roles: dict[str, Role] = Field(
        min_length=1,
        description="Role by group. observer: as `ops:numbers`; viewer: as `ops:read`; operator: as `ops:read` and "
        "`ops:write`; admin: as `admin`. The strongest role counts. People without a group here may not log in.",
    )
    models: dict[str, list[str]] = Field(
        default={},
        description="Models by group. A group here gives its role on its models alone. A group that is not here "
        "gives its role on all models.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if MAIN_SCOPE not in self.scopes:
            raise ValueError(f"scopes have no {MAIN_SCOPE}, and without it a provider tells nobody's name")
        for group, names in self.models.items():
            if group not in self.roles:
                raise ValueError(f"models names the group {group!r}, which has no role; add it to roles")
            if not names:
                raise ValueError(f"models.{group} is empty; name at least one model, or remove the group from models")
        return self


class LoginSettings(Section):
    """How people log in at the console. Keys always work."""

    oidc: OidcSettings | None = Field(default=None, description="An OpenID Connect provider. null: keys only.")
