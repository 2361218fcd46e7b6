"""Build a whole chat completion from the events of its stream, for completions that are stored."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson

from serve.gateway.capture import StreamRecorder

log = logging.getLogger(__name__)

LARGEST_STREAM = 64 * 1024 * 1024


class StreamAccumulator(StreamRecorder):
    """A tee that also keeps every choice's deltas, up to a bound in bytes of events; above it nothing is stored."""

    def __init__(self, largest: int = LARGEST_STREAM) -> None:
        super().__init__()
        self._head: dict[str, Any] = {}
        self._choices: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        self._left = largest

    def take(self, event: bytes) -> bool:
        """Reads one server-sent event, as any tee does."""
        only_usage = super().take(event)
        self._left -= len(event)
        if self._left >= 0 and event.startswith(b"data: {"):
            self._keep(event)
        return only_usage

    def completion(self) -> dict[str, Any] | None:
        """The completion as a request without `stream` would have given it, or None if it was too large."""
        if self._left < 0:
            log.warning("a stream of more than %d bytes is not stored", LARGEST_STREAM)
            return None
        choices = [_choice(index, pieces) for index, pieces in sorted(self._choices.items())]
        return self._head | {"object": "chat.completion", "choices": choices, "usage": self.usage or None}

    def _keep(self, event: bytes) -> None:
        try:
            data = orjson.loads(event[6:])
        except orjson.JSONDecodeError:
            return
        for choice in data.pop("choices", None) or ():
            self._choices[choice.get("index", 0)].append(choice)
        self._head = self._head or data


def _choice(index: int, pieces: list[dict[str, Any]]) -> dict[str, Any]:
    finish = [piece["finish_reason"] for piece in pieces if piece.get("finish_reason")]
    scores = [piece["logprobs"] for piece in pieces if piece.get("logprobs")]
    return {
        "index": index,
        "message": _message(piece.get("delta") or {} for piece in pieces),
        "finish_reason": finish[-1] if finish else None,
        "logprobs": {"content": [each for s in scores for each in s.get("content") or ()]} if scores else None,
    }


def _message(deltas: Iterable[dict[str, Any]]) -> dict[str, Any]:
    texts: defaultdict[str, list[str]] = defaultdict(list)
    calls: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for delta in deltas:
        for name, value in delta.items():
            if name == "tool_calls":
                for call in value or ():
                    calls[call.get("index", 0)].append(call)
            elif name != "role" and isinstance(value, str):
                texts[name].append(value)
    message: dict[str, Any] = {"role": "assistant", "content": None}
    message |= {name: "".join(pieces) for name, pieces in texts.items()}
    if calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = [_call(pieces) for _, pieces in sorted(calls.items())]
    return message


def _call(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    said = [piece.get("function") or {} for piece in pieces]
    return {
        "id": next((piece["id"] for piece in pieces if piece.get("id")), None),
        "type": "function",
        "function": {
            "name": next((part["name"] for part in said if part.get("name")), None),
            "arguments": "".join(part.get("arguments") or "" for part in said),
        },
    }
