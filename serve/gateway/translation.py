"""What the chat route needs to answer a request of another API. Engines and records have chat only."""

from typing import Any, Protocol

from serve.gateway.authentication import RequestPermit


class Translation(Protocol):
    """One request of another API, from its body to the last byte of its answer."""

    prefix: str
    """What the interaction's id begins with."""

    async def read(self, content: bytes, permit: RequestPermit) -> bytes:
        """The request as the body of the chat route. Raises InputError that names the field of the other API."""
        ...

    def kept(self, completion: dict[str, Any]) -> dict[str, Any]:
        """What is stored of a completion that the request asked to store."""
        ...


class AnswerTranslation(Translation, Protocol):
    """A translation of answers too."""

    def whole(self, completion: dict[str, Any]) -> bytes:
        """The answer as the other API's body."""
        ...

    def event(self, data: bytes) -> bytes:
        """The events for the data of one event of a chat's stream; empty if it makes none."""
        ...

    def end(self) -> bytes:
        """The events for a stream that ended; empty if it was whole."""
        ...

    def refused(self, status: int, error: dict[str, Any], request_id: str) -> tuple[int, bytes]:
        """(status, body) for an error in OpenAI's format."""
        ...
