"""The frame of a chat's stream in another API: it begins with the first event, and ends whole, cut or with an error."""

from abc import ABC, abstractmethod

from serve.gateway.translation import Body

CUT = "The engine's answer ended before it was whole."
SERVER_ERROR = "server_error"


class TranslatedStream(ABC):
    """Translates one stream. An API adds the events of each part."""

    def __init__(self) -> None:
        self._begun = False
        self._ended = False
        self._finish: str | None = None
        self._usage: Body = {}

    def event(self, found: Body) -> bytes:
        """The events for one event of the chat; empty if there are none."""
        if self._ended:
            return b""
        if error := found.get("error"):
            said = error if isinstance(error, dict) else {"message": error}
            return self._end_with(str(said.get("message")), str(said.get("code") or SERVER_ERROR))
        self._usage = found.get("usage") or self._usage
        events: list[bytes] = []
        if not self._begun:
            self._begun = True
            events += self._begin(found)
        for choice in found.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            events += self._add(choice)
        return b"".join(events)

    def done(self) -> bytes:
        """The events for the last event of the chat."""
        if self._ended:
            return b""
        if not self._begun:
            return self._end_with(CUT, SERVER_ERROR)
        self._ended = True
        return b"".join(self._last())

    def end(self) -> bytes:
        """What a client gets when the stream ends; an error if it is not whole."""
        return b"" if self._ended else self._end_with(CUT, SERVER_ERROR)

    def _end_with(self, message: str, code: str) -> bytes:
        self._ended = True
        return self._failed(message, code)

    @abstractmethod
    def _begin(self, found: Body) -> list[bytes]:
        """The events before the first part, for the chat's first event."""

    @abstractmethod
    def _add(self, choice: Body) -> list[bytes]:
        """The events for what one event of the chat adds."""

    @abstractmethod
    def _last(self) -> list[bytes]:
        """The events that end a whole answer."""

    @abstractmethod
    def _failed(self, message: str, code: str) -> bytes:
        """The events for an error, which end the stream."""
