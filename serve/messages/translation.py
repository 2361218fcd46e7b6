"""One request of Anthropic's Messages API, from its body to the last byte of its answer."""

import orjson

from serve.gateway.authentication import RequestPermit
from serve.messages.answer import Body, to_error, to_message
from serve.messages.request import to_chat
from serve.messages.stream import MessageStream


class MessagesTranslation(MessageStream):
    """Translates the request to chat, and a chat's answer, its events and its errors back."""

    prefix = "msg_"
    earlier_bytes = 0

    async def read(self, body: Body, permit: RequestPermit) -> Body:
        """The request as the body of the chat route. Raises InputError that names the field."""
        return to_chat(body)

    def kept(self, completion: Body) -> Body:
        """A stored answer is a chat completion, as the routes of stored completions have it."""
        return completion

    def whole(self, completion: Body) -> bytes:
        """The message of an answer."""
        return orjson.dumps(to_message(completion))

    def refused(self, status: int, error: Body, request_id: str) -> tuple[int, bytes]:
        """(status, body) of an error."""
        return refuse(status, error, request_id)


def refuse(status: int, error: Body, request_id: str) -> tuple[int, bytes]:
    """(status, body) for an error in OpenAI's format."""
    status, body = to_error(status, str(error.get("message") or "The request failed."), request_id)
    return status, orjson.dumps(body)
