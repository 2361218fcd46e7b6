"""Reject requests that a page of another site made a browser send.

Gateway and control both use the middleware. It reads headers only.
"""

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import Forbidden
from core.http import refusal
from core.settings import Settings, split_listen

SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# The headers that are read, in one pass, because each request to a gateway goes through here.
ORIGIN_HEADERS = (b"host", b"origin", b"sec-fetch-site", b"authorization")

Headers = Iterable[tuple[bytes, bytes]]
Hosts = frozenset[str] | None


def is_cross_site(found: dict[bytes, bytes]) -> bool:
    """Whether a browser says that another site made it send this. Old ones and programs say nothing."""
    site = found.get(b"sec-fetch-site")
    if site is not None:
        return site != b"same-origin"
    origin = found.get(b"origin")
    return origin is not None and _netloc(origin) != found.get(b"host", b"").decode("latin-1")


def origin_headers(headers: Headers) -> dict[bytes, bytes]:
    """The headers that tell where a request is from."""
    return {name: value for name, value in headers if name in ORIGIN_HEADERS}


def open_hosts(settings: Settings, listen: str) -> Hosts:
    """Return the accepted Host names of an app with open access, or None for an app that requires keys.

    A page of another site can point its own name at a loopback address. It then has the same origin as the app.
    Only the Host name differs.
    """
    if settings.access != "open":
        return None
    return frozenset((*LOOPBACK, split_listen(listen)[0], *(host.lower() for host in settings.hosts)))


class CrossSiteGuard:
    """ASGI middleware that rejects requests from pages of other sites and with unknown Host names.

    A request with a key in its header passes. Browsers send that header to other sites only after a CORS
    preflight, which LoraLoop itself never permits. A proxy that permits it does so on purpose.
    """

    def __init__(self, app: ASGIApp, hosts: Callable[[], Hosts]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI request."""
        if scope["type"] == "http":
            error = refused(scope["method"], scope["headers"], self.hosts())
            if error is not None:
                await refusal(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def refused(method: str, headers: Headers, hosts: Hosts) -> Forbidden | None:
    """Why a request may not pass, if it may not; without `hosts` it may use any name."""
    found = origin_headers(headers)
    if hosts is not None and _name(found.get(b"host", b"")) not in hosts:
        return Forbidden(
            "This name is not known here, and without keys only known names are answered.",
            hint="Use 127.0.0.1, add the name to `hosts`, or remove access: open.",
        )
    if method not in SAFE and b"authorization" not in found and is_cross_site(found):
        return Forbidden("Another site made your browser send this; nothing was done.")
    return None


def _name(host: bytes) -> str:
    """A Host header's name without its port; none of what cannot be read."""
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: bytes) -> str | None:
    try:
        return urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        return None
