"""Errors in OpenAI's format as those of another API."""

from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.gateway.translation import Translation

JSON = [(b"content-type", b"application/json")]
# Headers that only fit the body that they came with.
OF_THE_BODY = (b"content-type", b"content-length")
Headers = list[tuple[bytes, bytes]]
Refused = Callable[[int, dict[str, Any], str], tuple[int, bytes]]
"""(status, body) for a status, an error in OpenAI's format, and the id of the request."""


class TranslatedErrors:
    """An ASGI app whose errors, and only these, have another API's format."""

    def __init__(self, app: ASGIApp, refused: Refused) -> None:
        self._app = app
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        start: Message = {}
        parts: list[bytes] = []

        async def translating(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            if start["status"] < 400:
                await send(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    headers = with_request_id(start["headers"])
                    request_id = dict(headers)[b"request-id"].decode("latin-1")
                    status, content = self._refused(start["status"], error_in(b"".join(parts)), request_id)
                    await _send_json(send, status, headers, content)

        await self._app(scope, receive, translating)


def in_format_of(translation: Translation | None, error: ASGIApp) -> ASGIApp:
    """An app that answers with an error, in the format of the requested API."""
    return error if translation is None else TranslatedErrors(error, translation.refused)


def with_request_id(headers: Headers) -> Headers:
    """The headers of an answer with its id under the name that Anthropic's clients read."""
    found = dict(headers)
    return headers if b"request-id" in found else [*headers, (b"request-id", found.get(b"x-request-id", b""))]


def error_in(content: bytes) -> dict[str, Any]:
    """The error of a body in OpenAI's format, as an engine or the gateway sends it; empty if it has none."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}


async def _send_json(send: Send, status: int, headers: Headers, content: bytes) -> None:
    kept = [header for header in headers if header[0] not in OF_THE_BODY] + JSON
    kept.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": content})
