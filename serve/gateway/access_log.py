"""The access log of the gateway: one line per request, written when it is over.

A line says who answered, the status and the duration. It contains no query, no body and no key.
"""

import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.logs import fields

log = logging.getLogger(__name__)

# The client left before an answer began.
CLIENT_GONE = 499
LONGEST_PATH = 256
LogFields = dict[str, Any]


class AccessLog:
    """An app whose requests are logged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, logged = time.perf_counter(), LogFields(status=CLIENT_GONE)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                logged.update(_response_fields(message))
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            path = scope["path"][:LONGEST_PATH].encode("utf-8", "backslashreplace").decode()
            ms = round((time.perf_counter() - started) * 1000, 2)
            log.info("request", extra=fields(method=scope["method"], path=path, ms=ms, **logged))


def _response_fields(message: Message) -> LogFields:
    """What an answer's own headers say of it."""
    found = LogFields(status=message["status"])
    for name, value in message["headers"]:
        if name == b"x-request-id":
            found["request_id"] = value.decode("latin-1")
        elif name == b"x-loraloop-version":
            found["model"], _, version = value.decode("latin-1").rpartition("@")
            found["version"] = int(version)
    return found
