"""A route of another API, answered by the chat route: the same engines, limits, capture and canary."""

import logging
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.gateway.completions import Completions
from serve.gateway.events import data_of
from serve.gateway.translation import AnswerTranslation

log = logging.getLogger(__name__)

JSON = [(b"content-type", b"application/json")]
EVENTS = b"text/event-stream"
# Headers that only fit the body that they came with.
OF_THE_BODY = (b"content-type", b"content-length")
UNREADABLE = b'{"error": {"message": "The engine\'s answer cannot be read."}}'
Headers = list[tuple[bytes, bytes]]


class TranslatedRoute:
    """An ASGI app; `create` makes the translation of a request."""

    def __init__(self, completions: Completions, create: Callable[[], AnswerTranslation]) -> None:
        self._completions = completions
        self._create = create

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        translation = self._create()
        translated = TranslatedSend(send, translation)
        await self._completions.answer(scope, receive, translated, "chat", translation)


class TranslatedSend:
    """Translates the messages of an answer on their way to the client."""

    def __init__(self, send: Send, translation: AnswerTranslation) -> None:
        self._send = send
        self._translation = translation
        self._status = 0
        self._headers: Headers = []
        self._is_stream = False
        self._parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """One message of the chat route."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._is_stream:
            await self._send_events(message)
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._send_whole(b"".join(self._parts))

    async def _begin(self, message: Message) -> None:
        self._status = message["status"]
        self._headers = with_request_id(message["headers"])
        kind = dict(self._headers).get(b"content-type", b"")
        self._is_stream = self._status == 200 and kind.startswith(EVENTS)
        if self._is_stream:
            await self._send({**message, "headers": self._headers})

    async def _send_events(self, message: Message) -> None:
        """Translates one event, or a comment, which stays as it is."""
        more, body = message.get("more_body", False), message.get("body", b"")
        data = data_of(body) if body else b""
        events = self._translation.event(data) if data else b"" if not more else body
        if not more:
            events += self._translation.end()
        if events or not more:
            await self._send({"type": "http.response.body", "body": events, "more_body": more})

    async def _send_whole(self, content: bytes) -> None:
        status = self._status
        if status == 200:
            try:
                content = self._translation.whole(orjson.loads(content))
            except (LookupError, TypeError, ValueError, AttributeError):
                log.exception("an engine's answer cannot be translated")
                status, content = 502, UNREADABLE
        if status != 200:
            request_id = dict(self._headers)[b"request-id"].decode("latin-1")
            status, content = self._translation.refused(status, error_in(content), request_id)
        await send_json(self._send, status, self._headers, content)


def with_request_id(headers: Headers) -> Headers:
    """The headers of an answer with its id under the name that Anthropic's clients read."""
    found = dict(headers)
    return headers if b"request-id" in found else [*headers, (b"request-id", found.get(b"x-request-id", b""))]


async def send_json(send: Send, status: int, headers: Headers, content: bytes) -> None:
    """Sends a body in JSON with the headers of another one."""
    kept = [header for header in headers if header[0] not in OF_THE_BODY] + JSON
    kept.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": content})


def error_in(content: bytes) -> dict[str, Any]:
    """The error of a body in OpenAI's format, as an engine or the gateway sends it; empty if it has none."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}


class TranslatedErrors:
    """An ASGI app whose errors, and only these, have another API's format."""

    def __init__(self, app: ASGIApp, refused: Callable[[int, dict[str, Any], str], tuple[int, bytes]]) -> None:
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
                    await send_json(send, status, headers, content)

        await self._app(scope, receive, translating)
