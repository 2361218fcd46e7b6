"""Server-sent events of an engine's stream, however its lines end."""

import re
from typing import Any

import orjson

from core.errors import PromptRefused

# A blank line ends an event. Lines end with LF, CRLF or CR.
BLANK_LINE = re.compile(rb"\n\r?\n|\r\r")
LONGEST_END = 3
LINE_END = re.compile(rb"\r\n|\n|\r")
# The data of a stream's last event; by then the exchange must be captured.
DONE = b"[DONE]"
# How engines write an event.
DATA, END = b"data: ", b"\n\n"
LARGEST_EVENT = 64 * 1024 * 1024


class EventSplitter:
    """Cuts a stream of bytes into server-sent events, each with the blank line that ends it.

    It reads each byte once, however the stream is cut into chunks.
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return bytes(self._rest)

    def is_event(self, chunk: bytes) -> bool:
        """Whether a chunk is exactly one event, as engines send them. Then it needs no splitting."""
        return (
            not self._rest and chunk.endswith(END) and chunk.find(END) == len(chunk) - len(END) and b"\r" not in chunk
        )

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are whole with this chunk, which may begin and end anywhere."""
        searched = max(0, len(self._rest) - LONGEST_END + 1)
        self._rest += chunk
        found, begin = [], 0
        for end in BLANK_LINE.finditer(self._rest, searched):
            found.append(bytes(memoryview(self._rest)[begin : end.end()]))
            begin = end.end()
        del self._rest[:begin]
        if len(self._rest) > LARGEST_EVENT:
            raise PromptRefused(f"The engine sent an event of more than {LARGEST_EVENT} bytes.")
        return found


def data_of(event: bytes) -> bytes:
    """The data of an event without the field's name; empty for a comment or an event without data."""
    if event.startswith(DATA) and event.find(b"\n") == len(event) - len(END):
        return event[len(DATA) : -len(END)]  # one line, as engines send it
    found = []
    for line in LINE_END.split(event):
        name, _, value = line.partition(b":")
        if name == b"data":
            found.append(value[1:] if value.startswith(b" ") else value)
    return b"\n".join(found)


def event_of(data: bytes) -> bytes:
    """An event with this data, which is one line."""
    return DATA + data + END


def named_event(name: str, data: dict[str, Any]) -> bytes:
    """An event with a name, as the Messages and the Responses API have it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def stream_error(message: str, code: str) -> bytes:
    """An error as a stream's last event, since its status was sent long ago."""
    return event_of(orjson.dumps({"error": {"message": message, "type": "server_error", "param": None, "code": code}}))
