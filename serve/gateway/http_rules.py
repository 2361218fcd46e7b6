"""What HTTP asks of every path: HEAD, OPTIONS, and 405 with the methods that there are. No path redirects.

A path with a slash at its end is the path without it, unless it is a route of its own. Azure's paths are OpenAI's with
a prefix, and may name the model.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.http import answer
from serve.gateway.completions import ENDPOINTS, Completions
from serve.gateway.key_headers import with_authorization

AZURE = re.compile(r"/openai/deployments/([^/]+)(/.+)")
AZURE_V1 = "/openai/v1/"
# Key in the scope of the model that the path names.
MODEL_OF_PATH = "loraloop.model"


class RoutedApp(Protocol):
    """An app that lists its routes."""

    @property
    def routes(self) -> list[Any]: ...


class HttpRules:
    """An ASGI app before `app`. `direct` are the apps of paths that take POST and need no framework."""

    def __init__(
        self, routed: RoutedApp, app: ASGIApp, direct: Mapping[str, ASGIApp], completions: Completions
    ) -> None:
        self._routed = routed
        self._app = app
        self._direct = direct
        self._completions = completions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request whose path is none of the direct ones."""
        path, deployment = _without_azure(scope["path"])
        methods = self._methods(path)
        if not methods and path.endswith("/"):
            path = path.rstrip("/") or "/"
            methods = self._methods(path)
        method = scope["method"]
        scope = with_authorization(scope if path == scope["path"] else {**scope, "path": path})
        if deployment:
            scope = {**scope, MODEL_OF_PATH: deployment}
        if deployment and method == "POST" and path in ENDPOINTS:
            await self._completions.answer(scope, receive, send, ENDPOINTS[path], model=deployment)
        elif method == "POST" and path in self._direct:
            await self._direct[path](scope, receive, send)
        elif method in methods or not methods:
            await self._app(scope, receive, send)
        elif method == "HEAD" and "GET" in methods:
            await self._app({**scope, "method": "GET"}, receive, WithoutBody(send))
        elif method == "OPTIONS":
            await send(
                {"type": "http.response.start", "status": 204, "headers": [(b"allow", _allow(methods).encode())]}
            )
            await send({"type": "http.response.body", "body": b""})
        else:
            allow = _allow(methods)
            words = f"{path[:256]} has no {method[:16]}. Send one of {allow}."
            await answer(405, words, code="method_not_allowed", headers={"Allow": allow})(scope, receive, send)

    def _methods(self, path: str) -> set[str]:
        """The methods of a path; empty for one that is not there."""
        found = {"POST"} if path in self._direct else set[str]()
        for route in self._routed.routes:
            if isinstance(route, Route) and route.path_regex.match(path):
                found |= route.methods or set()
        return found


class WithoutBody:
    """Sends the head of an answer and none of its body."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        """One message."""
        await self._send(message if message["type"] == "http.response.start" else {**message, "body": b""})


def _without_azure(path: str) -> tuple[str, str]:
    """(OpenAI's path, the model that the path names) for a path of Azure's. Other paths name none."""
    if path.startswith(AZURE_V1):
        return path.removeprefix("/openai"), ""
    if found := AZURE.fullmatch(path):
        return f"/v1{found[2]}", found[1]
    return path, ""


def _allow(methods: set[str]) -> str:
    more = {"HEAD"} if "GET" in methods else set[str]()
    return ", ".join(sorted({*methods, *more, "OPTIONS"}))
