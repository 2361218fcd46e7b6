"""The gateway's app: which part of it answers a request, by its method and path."""

from collections.abc import Awaitable, Mapping
from functools import partial

from fastapi import FastAPI
from starlette import types as asgi

from core.cross_site import CrossSiteGuard, open_hosts
from core.settings import Settings
from serve.gateway.completions import ENDPOINTS, Completions
from serve.gateway.http_rules import HttpRules
from serve.gateway.translated_errors import TranslatedErrors
from serve.gateway.translated_route import TranslatedRoute
from serve.messages.translation import MessagesTranslation, refuse
from serve.responses.routes import StoredResponses
from serve.responses.translation import ResponsesTranslation

# Below this path, errors have the format of Anthropic's API.
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"


class GatewayApp(FastAPI):
    """FastAPI for all routes but completions, which are answered before any of it runs."""

    completions: Completions
    # The paths that are answered without the framework, and what answers all others.
    direct: Mapping[str, asgi.ASGIApp]
    other: asgi.ASGIApp
    # Only where access is open: otherwise a key says enough, and requests need not pass it.
    guard: CrossSiteGuard | None = None

    def open_to(self, settings: Settings) -> None:
        """Puts the guard before the app where anyone is let in, or takes it away."""
        hosts = open_hosts(settings, settings.gateway.listen)
        self.guard = None if hosts is None else CrossSiteGuard(self.answer, lambda: hosts)

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """One ASGI request."""
        await (self.guard or self.answer)(scope, receive, send)

    def answer(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> Awaitable[None]:
        """One ASGI request that may pass. What answers it is awaited by the caller: each await costs each chunk."""
        if scope["type"] != "http":
            return FastAPI.__call__(self, scope, receive, send)
        if scope["method"] == "POST" and (app := self.direct.get(scope["path"])):
            return app(scope, receive, send)
        return self.other(scope, receive, send)

    def put_together(self, completions: Completions, stored: StoredResponses) -> None:
        """Takes what answers the paths that need no framework."""
        self.completions = completions
        messages = TranslatedRoute(completions, MessagesTranslation)
        responses = TranslatedRoute(completions, partial(ResponsesTranslation, stored.messages))
        self.direct = {**dict.fromkeys(ENDPOINTS, completions), MESSAGES: messages, RESPONSES: responses}
        rules = HttpRules(self, partial(FastAPI.__call__, self), self.direct, completions)
        errors_of_messages = TranslatedErrors(rules, refuse)

        async def other(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
            await (errors_of_messages if scope["path"].startswith(MESSAGES) else rules)(scope, receive, send)

        self.other = other


class ObservedApp(GatewayApp):
    """A gateway whose requests pass what logs or traces them; only where one of both is on."""

    front: asgi.ASGIApp

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """One ASGI request."""
        await self.front(scope, receive, send)
