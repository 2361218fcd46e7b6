"""One request of OpenAI's Responses API, from its body to the last byte of its answer."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from core.errors import InputError
from serve.gateway.authentication import RequestPermit
from serve.responses.answer import to_response
from serve.responses.items import Item, Message, read_input, to_messages
from serve.responses.request import to_chat
from serve.responses.stream import ResponseStream

Body = dict[str, Any]
FindMessages = Callable[[str, RequestPermit], Awaitable[list[Message]]]


class ResponsesTranslation:
    """Translates a request to chat, and a chat's answer and its events back.

    `find_messages` gives the messages up to the end of a stored response.
    """

    prefix = "resp_"
    earlier_bytes = 0

    def __init__(self, find_messages: FindMessages) -> None:
        self._find_messages = find_messages
        self._request: Body = {}
        self._items: list[Item] = []
        self._stream: ResponseStream | None = None
        self._whole: Body | None = None

    async def read(self, body: Body, permit: RequestPermit) -> Body:
        """The request as the body of the chat route. Raises InputError that names the field, or NotFound."""
        self._items = read_input(body.get("input"))
        messages = to_messages(self._items)
        previous = body.get("previous_response_id")
        if not isinstance(previous, str | None):
            raise InputError("previous_response_id: takes a string.", field="previous_response_id")
        before: list[Message] = []
        if previous is not None:
            before = await self._find_messages(previous, permit)
            self.earlier_bytes = len(orjson.dumps(before))
        self._request = {name: value for name, value in body.items() if name != "input"}
        self._stream = ResponseStream(self._request, _now)
        return to_chat(body, messages, before)

    def kept(self, completion: Body) -> Body:
        """What is stored: the response as the client gets it, and the items of its request."""
        is_stream = self._stream is not None and self._stream.has_begun
        found = self._stream.so_far() if is_stream and self._stream else self._translate(completion)
        return {"response": found, "input": [_with_id(item, found["id"], n) for n, item in enumerate(self._items)]}

    def whole(self, completion: Body) -> bytes:
        """The response of an answer."""
        return orjson.dumps(self._translate(completion))

    def event(self, found: Body) -> bytes:
        """The events for one event of the chat's stream."""
        return self._stream.event(found) if self._stream else b""

    def done(self) -> bytes:
        """The events for the last event of the chat's stream."""
        return self._stream.done() if self._stream else b""

    def end(self) -> bytes:
        """The events for a stream that ended."""
        return self._stream.end() if self._stream else b""

    def refused(self, status: int, error: Body, request_id: str) -> tuple[int, bytes]:
        """(status, body) of an error, which has the same format as a chat's."""
        empty = {"message": "The request failed.", "type": "server_error", "param": None, "code": None}
        return status, orjson.dumps({"error": empty | error})

    def _translate(self, completion: Body) -> Body:
        if self._whole is None:
            self._whole = to_response(self._request, completion, _now())
        return self._whole


def _with_id(item: Item, identity: str, place: int) -> Item:
    """An item of the request as `input_items` lists it."""
    found = {"id": f"in_{identity.removeprefix('resp_')}_{place}", **item}
    if found["type"] == "message":
        found["status"] = "completed"
        if isinstance(content := found.get("content"), str):
            kind = "output_text" if found["role"] == "assistant" else "input_text"
            found["content"] = [{"type": kind, "text": content}]
    return found


def _now() -> int:
    return int(time.time())
