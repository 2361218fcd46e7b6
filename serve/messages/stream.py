"""The events of a chat's stream as those of Anthropic's Messages API."""

from typing import Any

from serve.gateway.events import named_event
from serve.gateway.translated_stream import TranslatedStream
from serve.messages.answer import Body, stop_reason, to_error, to_usage


class MessageStream(TranslatedStream):
    """Translates one stream. A block is open until another one begins."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks = 0
        self._open = ""
        self._call: int | None = None
        self._later: list[str] = []
        self._called = False
        self._stop: Any = None

    def _begin(self, found: Body) -> list[bytes]:
        message = {
            "id": found.get("id"),
            "type": "message",
            "role": "assistant",
            "model": found.get("model"),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": to_usage(self._usage),
        }
        return [_event("message_start", {"message": message})]

    def _add(self, choice: Body) -> list[bytes]:
        self._stop = choice.get("stop_reason") or self._stop
        delta: Body = choice.get("delta") or {}
        events: list[bytes] = []
        if thought := delta.get("reasoning"):
            events += self._into("thinking", {"thinking": "", "signature": ""})
            events.append(self._delta({"type": "thinking_delta", "thinking": thought}))
        if text := delta.get("content"):
            if self._open == "tool_use":
                self._later.append(text)  # a call must not be cut in two
            else:
                events += self._into("text", {"text": ""})
                events.append(self._delta({"type": "text_delta", "text": text}))
        for call in delta.get("tool_calls") or ():
            events += self._add_call(call)
        return events

    def _add_call(self, call: Body) -> list[bytes]:
        function, index = call.get("function") or {}, call.get("index", 0)
        events: list[bytes] = []
        if index != self._call:
            events += self._close()
            self._called = True
            block = {"id": call.get("id"), "name": function.get("name"), "input": {}}
            events += self._into("tool_use", block)
            self._call = index
        if arguments := function.get("arguments"):
            events.append(self._delta({"type": "input_json_delta", "partial_json": arguments}))
        return events

    def _into(self, kind: str, block: Body) -> list[bytes]:
        """The events until a block of this kind is open."""
        if self._open == kind:
            return []
        events = self._close()
        self._open = kind
        begin = {"index": self._blocks, "content_block": {"type": kind, **block}}
        return [*events, _event("content_block_start", begin)]

    def _close(self) -> list[bytes]:
        """The events that close the open block, and send a text that came within a call."""
        if not self._open:
            return []
        events = [_event("content_block_stop", {"index": self._blocks})]
        self._blocks, self._open, self._call = self._blocks + 1, "", None
        if later := "".join(self._later):
            self._later.clear()
            events += [*self._into("text", {"text": ""}), self._delta({"type": "text_delta", "text": later})]
            events += self._close()
        return events

    def _delta(self, delta: Body) -> bytes:
        return _event("content_block_delta", {"index": self._blocks, "delta": delta})

    def _last(self) -> list[bytes]:
        events = [] if self._blocks or self._open else self._into("text", {"text": ""})
        events += self._close()
        reason, sequence = stop_reason(self._finish, self._stop, called=self._called)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        return [
            *events,
            _event("message_delta", {"delta": delta, "usage": to_usage(self._usage)}),
            _event("message_stop", {}),
        ]

    def _failed(self, message: str, code: str) -> bytes:
        _, body = to_error(500, message)
        return _event("error", {"error": body["error"]})


def _event(name: str, data: Body) -> bytes:
    return named_event(name, {"type": name, **data})
