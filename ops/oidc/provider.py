"""The provider: its discovery document, the URL to send a browser to, and what a code is exchanged for.

It sends requests to the provider alone, and follows no redirect. It logs no code, no token and no secret.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.discovery import get_well_known_url

from core.clock import Clock
from core.errors import LoginRefused, ProviderFailed
from core.quoting import quote_untrusted
from core.settings import OidcSettings
from ops.oidc.id_token import read_keys, verify
from ops.oidc.pending import Pending
from ops.oidc.people import claim_of

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
# The log-in page is open to everybody, so the provider is not asked at each of its views: seconds that a document is
# good for, and seconds that a failure is.
FRESH_SECONDS = 600
FAILED_SECONDS = 10
LOGS_HINT = "A key still logs in. Control's log has more, and so has: loraloop doctor"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What is used of a discovery document."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    end_session: str
    secret_in_body: bool


class Provider:
    """One provider. For one event loop."""

    def __init__(
        self,
        settings: OidcSettings,
        *,
        secret: str,
        redirect_uri: str,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.host = urlsplit(settings.issuer).netloc
        self.redirect_uri = redirect_uri
        self._secret = secret
        self._clock = clock
        self._transport = transport
        self._found: Endpoints | ProviderFailed | None = None
        self._good_until = 0.0
        self._finding = asyncio.Lock()

    async def discover(self) -> Endpoints:
        """The provider's endpoints, from its discovery document. Raises ProviderFailed."""
        async with self._finding:
            if self._found is None or self._clock().timestamp() >= self._good_until:
                try:
                    self._found, lasts = await self._discover(), FRESH_SECONDS
                except ProviderFailed as error:
                    log.warning("log-in by %s: %s", self.host, error.message)
                    self._found, lasts = error, FAILED_SECONDS
                # Counted from the answer, so that requests that waited for a slow failure do not repeat it.
                self._good_until = self._clock().timestamp() + lasts
            if isinstance(self._found, ProviderFailed):
                raise ProviderFailed(self._found.message, hint=self._found.hint)
            return self._found

    async def authorization_url(self, pending: Pending) -> str:
        """Where the browser goes to log in: authorization code with PKCE. Raises ProviderFailed."""
        endpoints = await self.discover()
        return prepare_grant_uri(
            endpoints.authorization,
            client_id=self.settings.client_id,
            response_type="code",
            redirect_uri=self.redirect_uri,
            scope=self.settings.scopes,
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
        )

    async def leaving_url(self, return_to: str) -> str:
        """Where somebody logs out at the provider itself; empty if it has no such page. Raises ProviderFailed."""
        endpoints = await self.discover()
        if not endpoints.end_session:
            return ""
        query = httpx.QueryParams(client_id=self.settings.client_id, post_logout_redirect_uri=return_to)
        return f"{endpoints.end_session}{'&' if '?' in endpoints.end_session else '?'}{query}"

    async def claims(self, code: str, pending: Pending) -> dict[str, Any]:
        """Exchange a code, and return the claims of the ID token that it gives, verified.

        Groups that the ID token lacks come from the userinfo endpoint. Raises LoginRefused or ProviderFailed.
        """
        endpoints = await self.discover()
        tokens = await self._redeem(endpoints, code, pending.verifier)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise ProviderFailed(f"{self.host} sent no ID token.", hint=LOGS_HINT)
        try:
            keys = read_keys(await self._get(endpoints.keys))
        except ValueError as error:
            raise ProviderFailed(f"{endpoints.keys} cannot be used: {error}.", hint=LOGS_HINT) from error
        found = verify(
            id_token,
            keys,
            issuer=self.settings.issuer,
            client_id=self.settings.client_id,
            nonce=pending.nonce,
            now=self._clock().timestamp(),
        )
        if claim_of(found, self.settings.groups_claim) is None and endpoints.userinfo:
            return await self._with_userinfo(found, endpoints.userinfo, tokens.get("access_token"))
        return found

    async def _with_userinfo(self, found: dict[str, Any], url: str, access_token: Any) -> dict[str, Any]:
        """Claims with those of the userinfo endpoint; the verified ones win."""
        if not isinstance(access_token, str):
            return found
        more = await self._get(url, {"Authorization": f"Bearer {access_token}"})
        # OpenID Connect Core 1.0, section 5.3.2: an answer about another subject must not be used.
        if not isinstance(more, dict) or more.get("sub") != found["sub"]:
            raise LoginRefused("The provider's userinfo endpoint answers about somebody else.")
        return more | found

    async def _discover(self) -> Endpoints:
        url = get_well_known_url(self.settings.issuer, external=True)
        found = await self._get(url)
        if not isinstance(found, dict) or found.get("issuer") != self.settings.issuer:
            named = quote_untrusted(str(found.get("issuer") if isinstance(found, dict) else None))
            raise ProviderFailed(
                f"{url} is about the issuer {named}, and login.oidc.issuer is {self.settings.issuer}.",
                hint="Both must be the same text. A slash at the end counts.",
            )
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Endpoints(
            self._endpoint(found, "authorization_endpoint"),
            self._endpoint(found, "token_endpoint"),
            self._endpoint(found, "jwks_uri"),
            self._endpoint(found, "userinfo_endpoint", required=False),
            self._endpoint(found, "end_session_endpoint", required=False),
            "client_secret_basic" not in methods and "client_secret_post" in methods,
        )

    def _endpoint(self, found: Mapping[str, Any], name: str, *, required: bool = True) -> str:
        """A URL of the discovery document. An encrypted issuer has no endpoint that is not encrypted."""
        url = found.get(name)
        if url is None and not required:
            return ""
        allowed = ("https",) if self.settings.issuer.startswith("https:") else ("https", "http")
        if not isinstance(url, str) or urlsplit(url).scheme not in allowed or not urlsplit(url).hostname:
            raise ProviderFailed(f"{self.host} has no usable {name}: {quote_untrusted(str(url))}.", hint=LOGS_HINT)
        return url

    async def _redeem(self, endpoints: Endpoints, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        if self._secret and not endpoints.secret_in_body:
            # RFC 6749, section 2.3.1: both are encoded as in a form first.
            auth = httpx.BasicAuth(quote_plus(self.settings.client_id), quote_plus(self._secret))
        else:
            form["client_id"] = self.settings.client_id
            if self._secret:
                form["client_secret"] = self._secret
        answer, body = await self._send("POST", endpoints.token, data=form, auth=auth)
        if answer.status_code != httpx.codes.OK or not isinstance(body, dict):
            code_of_error = body.get("error") if isinstance(body, dict) else None
            said = quote_untrusted(str(code_of_error)) if code_of_error else f"status {answer.status_code}"
            log.warning("log-in by %s: the token endpoint answered %s", self.host, said)
            if code_of_error == "invalid_grant":
                raise LoginRefused(f"{self.host} does not accept this log-in any more.", hint="Log in again.")
            hint = "Check login.oidc.client_id and LORALOOP_OIDC_CLIENT_SECRET. A key still logs in."
            raise ProviderFailed(f"{self.host} refused to exchange the code: {said}.", hint=hint)
        return body

    async def _get(self, url: str, headers: dict[str, str] | None = None) -> Any:
        answer, body = await self._send("GET", url, headers=headers)
        if answer.status_code != httpx.codes.OK or body is None:
            raise ProviderFailed(f"{url} answered {answer.status_code} without usable JSON.", hint=LOGS_HINT)
        return body

    async def _send(self, method: str, url: str, **how: Any) -> tuple[httpx.Response, Any]:
        """An answer, and its body as JSON, None if it is none. Raises ProviderFailed if there is no answer."""
        try:
            async with httpx.AsyncClient(
                timeout=TIMEOUT_SECONDS, follow_redirects=False, transport=self._transport
            ) as client:
                answer = await client.request(method, url, **how)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise ProviderFailed(f"{self.host} does not answer: {why}.", hint=LOGS_HINT) from error
        try:
            return answer, answer.json()
        except ValueError:
            return answer, None
