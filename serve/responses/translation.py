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


class ResponsesTranslation(ResponseStream):
    """Translates a request to chat, and a chat's answer, its events and its errors back.

    `find_messages` gives the messages up to the end of a stored response.
    """

    prefix = "resp_"
    earlier_bytes = 0

    def __init__(self, find_messages: FindMessages) -> None:
        super().__init__({}, _now)
        self._find_messages = find_messages
        self._input: list[Item] = []
        self._whole: Body | None = None

    async def read(self, body: Body, permit: RequestPermit) -> Body:
        """The request as the body of the chat route. Raises InputError that names the field, or NotFound."""
        self._input = read_input(body.get("input"))
        messages = to_messages(self._input)
        previous = body.get("previous_response_id")
        before: list[Message] = []
        if previous is not None:
            if not isinstance(previous, str):
                raise InputError("previous_response_id: takes a string.", field="previous_response_id")
            before = await self._find_messages(previous, permit)
            self.earlier_bytes = len(orjson.dumps(before))
        self._request = {name: value for name, value in body.items() if name != "input"}
        return to_chat(body, messages, before)

    def kept(self, completion: Body) -> Body:
        """What is stored: the response as the client gets it, and the items of its request."""
        found = self.so_far() if self.has_begun else self._translate(completion)
        return {"response": found, "input": [_with_id(item, found["id"], n) for n, item in enumerate(self._input)]}

    def whole(self, completion: Body) -> bytes:
        """The response of an answer."""
        return orjson.dumps(self._translate(completion))

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
