"""The events of one stream on their way from the engine to the client: renamed, captured, and translated if need be."""

from abc import ABC, abstractmethod

from serve.gateway.answer_names import AnswerNames, parsed_object
from serve.gateway.capture import StreamRecorder
from serve.gateway.events import DATA, DONE, END, EventSplitter, data_of, event_of, stream_error
from serve.gateway.translation import Translation


class PassingEvents(ABC):
    """What the client gets of a stream. `done` says whether the engine's last event came."""

    def __init__(self, names: AnswerNames, tee: StreamRecorder) -> None:
        self.done = False
        self._names = names
        self._tee = tee
        self._splitter = EventSplitter()

    def take(self, chunk: bytes) -> bytes:
        """What the client gets for this chunk of the engine's stream, which may begin and end anywhere."""
        if self._splitter.is_event(chunk):
            return self._pass(chunk)
        return b"".join(map(self._pass, self._splitter.feed(chunk)))

    @abstractmethod
    def end(self) -> bytes:
        """What the client gets when the engine's stream has ended."""

    @abstractmethod
    def failed(self, message: str, code: str) -> bytes:
        """What the client gets when the gateway ends the stream because of an error."""

    @abstractmethod
    def _pass(self, event: bytes) -> bytes:
        """What the client gets for one event."""


class PlainEvents(PassingEvents):
    """A stream of the API that the engine serves. Events keep their bytes but for the names in them."""

    def __init__(self, names: AnswerNames, tee: StreamRecorder, *, shows_usage: bool) -> None:
        super().__init__(names, tee)
        self._shows_usage = shows_usage
        # What each event of this engine begins with, once one has shown it, and what the client gets instead.
        self._begin, self._begin_here = b"", b""

    def end(self) -> bytes:
        """What came after the last whole event."""
        return self._splitter.rest

    def failed(self, message: str, code: str) -> bytes:
        """An event with the error."""
        return stream_error(message, code)

    def _pass(self, event: bytes) -> bytes:
        if self._begin and event.startswith(self._begin) and is_plain_delta(event):
            self._tee.keep(event[len(DATA) : -len(END)])
            return self._begin_here + event[len(self._begin) :]
        data = data_of(event)
        if data == DONE:
            self.done = True
            return event
        if not data:
            return event  # a comment
        rewritten = self._names.rewrite(data)
        if self._tee.take(rewritten) and not self._shows_usage:
            return b""
        if not event.startswith(DATA):
            return event.replace(data, rewritten, 1)  # an event with other fields than its data keeps them
        if not self._begin and (learnt := self._names.beginning(data, rewritten)):
            self._begin, self._begin_here = DATA + learnt[0], DATA + learnt[1]
        return event_of(rewritten)


def is_plain_delta(event: bytes) -> bool:
    """Whether an event is one line and has neither usage nor an error, as most are."""
    return event.find(b"\n") == len(event) - len(END) and b'"usage"' not in event and b'"error"' not in event


class TranslatedEvents(PassingEvents):
    """A stream of chat as that of another API. Each event is parsed once, for the record and for the translation."""

    def __init__(self, names: AnswerNames, tee: StreamRecorder, translation: Translation) -> None:
        super().__init__(names, tee)
        self._translation = translation

    def end(self) -> bytes:
        """The events that end the stream; none if it was whole."""
        return self._translation.end()

    def failed(self, message: str, code: str) -> bytes:
        """The events for the error."""
        return self._translation.event({"error": {"message": message, "code": code}})

    def _pass(self, event: bytes) -> bytes:
        data = data_of(event)
        if data == DONE:
            self.done = True
            return self._translation.done()
        if not data:
            return event  # a comment
        found = parsed_object(data)
        if not found:
            return b""
        self._names.rename(found)
        self._tee.take_parsed(found)
        return self._translation.event(found)
