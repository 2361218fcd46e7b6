"""What the chat route needs to answer a request of another API. Engines and records have chat only.

Bodies and answers are handed over parsed, so that each is parsed once in every API.
"""

from typing import Any, Protocol

from serve.gateway.authentication import RequestPermit

Body = dict[str, Any]


class Translation(Protocol):
    """One request of another API, from its body to the last byte of its answer."""

    prefix: str
    """What the interaction's id begins with."""
    earlier_bytes: int
    """Size of the messages that the request names instead of carrying them, such as those of a stored response."""

    async def read(self, body: Body, permit: RequestPermit) -> Body:
        """The request as the body of the chat route. Raises InputError that names the field of the other API."""
        ...

    def kept(self, completion: Body) -> Body:
        """What is stored of a completion that the request asked to store."""
        ...

    def whole(self, completion: Body) -> bytes:
        """The answer as the other API's body. Raises LookupError, TypeError, ValueError or AttributeError."""
        ...

    def event(self, found: Body) -> bytes:
        """The events for one event of a chat's stream; empty if it makes none."""
        ...

    def done(self) -> bytes:
        """The events for the last event of a chat's stream."""
        ...

    def end(self) -> bytes:
        """The events for a stream that ended; empty if it was whole."""
        ...

    def refused(self, status: int, error: Body, request_id: str) -> tuple[int, bytes]:
        """(status, body) for an error in OpenAI's format."""
        ...
