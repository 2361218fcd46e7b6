"""The events of a chat's stream as those of Anthropic's Messages API."""

from typing import Any

import orjson

from serve.messages.answer import Body, stop_reason, to_error, to_usage

CUT = "The engine's answer ended before it was whole."


class MessageStream:
    """Translates one stream. A block is open until another one begins."""

    def __init__(self) -> None:
        self._begun = False
        self._ended = False
        self._blocks = 0
        self._open = ""
        self._call: int | None = None
        self._later: list[str] = []
        self._called = False
        self._finish: str | None = None
        self._stop: Any = None
        self._usage: Body = {}

    def event(self, found: Body) -> bytes:
        """The events for one event of the chat; empty if there are none."""
        if self._ended:
            return b""
        if error := found.get("error"):
            return self._fail(str(error.get("message")))
        self._usage = found.get("usage") or self._usage
        events = [] if self._begun else [self._begin(found)]
        for choice in found.get("choices") or ():
            events += self._add(choice.get("delta") or {})
            self._finish = choice.get("finish_reason") or self._finish
            self._stop = choice.get("stop_reason") or self._stop
        return b"".join(events)

    def done(self) -> bytes:
        """The events for the last event of the chat."""
        return b"" if self._ended else self._finish_message()

    def end(self) -> bytes:
        """What a client gets when the stream ends; an error if it is not whole."""
        return b"" if self._ended else self._fail(CUT)

    def _begin(self, found: Body) -> bytes:
        self._begun = True
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
        return _event("message_start", {"message": message})

    def _add(self, delta: Body) -> list[bytes]:
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

    def _finish_message(self) -> bytes:
        if not self._begun:
            return self._fail(CUT)
        self._ended = True
        events = [] if self._blocks or self._open else self._into("text", {"text": ""})
        events += self._close()
        reason, sequence = stop_reason(self._finish, self._stop, called=self._called)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        events.append(_event("message_delta", {"delta": delta, "usage": to_usage(self._usage)}))
        return b"".join([*events, _event("message_stop", {})])

    def _fail(self, message: str) -> bytes:
        self._ended = True
        _, body = to_error(500, message)
        return _event("error", {"error": body["error"]})


def _event(name: str, data: Body) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **data}))
