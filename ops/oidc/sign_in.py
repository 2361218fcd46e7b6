"""A log-in by the provider from its first redirect to a person with a role. It does not know pages and cookies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from core.clock import Clock
from core.errors import LoginRefused, NotFound, ProviderFailed
from core.quoting import quote_untrusted
from core.settings import Settings
from ops.oidc.pending import Pending, PendingLogins
from ops.oidc.people import Access, Person, access_of, person_of
from ops.oidc.provider import Provider

START_PATH = "/login/oidc"
RETURN_PATH = "/login/oidc/callback"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Who logged in, what they may do, and the path that they want to go to."""

    person: Person
    access: Access
    onward: str


class SignIn:
    """Log-ins by the provider that the settings of now name, if they name one. For one event loop."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = transport
        self._pending = PendingLogins(clock)
        self._made: Provider | None = None

    @property
    def host(self) -> str:
        """The provider's host for people to read; empty without a provider."""
        provider = self._provider()
        return provider.host if provider else ""

    @property
    def public_url(self) -> str:
        """The URL that people open the console by."""
        return self._settings().console_url

    async def begin(self, onward: str) -> tuple[str, Pending]:
        """The provider's page to send a browser to, and what must come back. Raises NotFound or ProviderFailed."""
        provider = self._require()
        pending = self._pending.begin(onward)
        return await provider.authorization_url(pending), pending

    async def finish(self, query: Mapping[str, str], browser: str) -> LoggedIn:
        """Who logged in, by the query of the provider's redirect and the browser's cookie.

        Raises NotFound, LoginRefused or ProviderFailed. A person without a role is no error: the role is None.
        """
        provider = self._require()
        pending = self._pending.take(query.get("state", ""), browser)
        if pending is None:
            raise LoginRefused(
                "This log-in was not begun in this browser, took more than ten minutes, or was used before.",
                hint=f"Open {self.public_url} and log in again.",
            )
        # RFC 9207: with several providers, one could pass on what is meant for another.
        if query.get("iss", provider.settings.issuer) != provider.settings.issuer:
            raise LoginRefused("The answer is from another provider than login.oidc.issuer.")
        if query.get("error"):
            raise LoginRefused(f"{provider.host} did not log you in: {quote_untrusted(query['error'])}.")
        code = query.get("code")
        if not code:
            raise LoginRefused(f"{provider.host} sent no code.", hint="Log in again.")
        settings = provider.settings
        person = person_of(await provider.claims(code, pending), settings.issuer, settings.groups_claim)
        return LoggedIn(person, access_of(person.groups, settings), pending.onward)

    async def leaving_url(self) -> str:
        """The provider's own page to log out; empty if there is none, or if the provider does not answer."""
        provider = self._provider()
        try:
            return await provider.leaving_url(f"{self.public_url}/login") if provider else ""
        except ProviderFailed:
            return ""

    def _require(self) -> Provider:
        provider = self._provider()
        if provider is None:
            raise NotFound("log-in by", "OpenID Connect", where="in the settings", hint="Log in with a key.")
        return provider

    def _provider(self) -> Provider | None:
        """The provider of the settings of now. With changed ones, nothing of the old provider is used again."""
        settings = self._settings()
        wanted = settings.login.oidc
        if wanted is None:
            self._made = None
        elif self._made is None or self._made.settings != wanted:
            self._made = provider_of(settings, self._clock, self._transport)
            self._pending = PendingLogins(self._clock)
        return self._made


def provider_of(settings: Settings, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> Provider | None:
    """The provider of the settings, None without one."""
    if settings.login.oidc is None:
        return None
    secret = settings.keys.oidc.get_secret_value() if settings.keys.oidc else ""
    return Provider(
        settings.login.oidc,
        secret=secret,
        redirect_uri=f"{settings.console_url}{RETURN_PATH}",
        clock=clock,
        transport=transport,
    )
