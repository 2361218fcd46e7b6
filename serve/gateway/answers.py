"""Whole answers: the message of every choice, of a response or from the events of a stream."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

# The largest answer that a record has, in characters. One that is larger is cut, and says so.
LARGEST_ANSWER = 1_000_000
# What an entry of log-probabilities takes of that, roughly.
LOGPROB_SIZE = 100
EMPTY = (None, [], {})
# The parts of a message that is a text.
PLAIN = ("role", "content")
# The parts of an engine's choice that a record keeps.
KEPT = ("index", "message", "text", "finish_reason", "logprobs", "cut")


@dataclass(frozen=True, slots=True)
class Answer:
    """The first choice's text and finish reason, and every choice where these two do not say all.

    `choices` have the form of OpenAI's API, without empty fields. One that was too large has `cut`, and its text only.
    """

    text: str | None = None
    finish_reason: str | None = None
    choices: list[dict[str, Any]] | None = None


NO_ANSWER = Answer()


def read_answer(choices: Sequence[dict[str, Any]], limit: int = LARGEST_ANSWER) -> Answer:
    """The answer that these choices of a response are, chat or completion. Raises TypeError if they are no list."""
    if not isinstance(choices, list | tuple):
        raise TypeError("choices: not a list.")
    if not choices:
        return NO_ANSWER
    first = choices[0]
    if len(choices) == 1 and _is_plain(first):
        text = _text(first)
        if text is None or len(text) <= limit:
            return Answer(text, first.get("finish_reason"))
    whole = _within([_without_empty(choice) for choice in choices], limit)
    return Answer(_text(whole[0]), whole[0].get("finish_reason"), whole)


def _text(choice: dict[str, Any]) -> str | None:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return text if isinstance(text, str) else None


def _without_empty(choice: dict[str, Any]) -> dict[str, Any]:
    kept = {name: choice[name] for name in KEPT if choice.get(name) is not None}
    if isinstance(message := kept.get("message"), dict):
        kept["message"] = {name: part for name, part in message.items() if part not in EMPTY}
    return kept


def _is_plain(choice: dict[str, Any]) -> bool:
    """Whether text and finish reason say all of the only choice: a text alone, without log-probabilities."""
    if choice.get("logprobs") is not None or choice.get("cut") is not None:
        return False
    message = choice.get("message")
    if not isinstance(message, dict):
        return True
    for name, part in message.items():
        if part is not None and part not in EMPTY and not (name in PLAIN and isinstance(part, str)):
            return False
    return True


def _within(choices: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """The choices if they are small enough, else without log-probabilities, else their texts, cut."""
    if len(orjson.dumps(choices)) <= limit:
        return choices
    fewer = [{name: part for name, part in choice.items() if name != "logprobs"} for choice in choices]
    if len(orjson.dumps(fewer)) <= limit:
        return fewer
    share = limit // len(choices)
    return [
        {
            "index": choice.get("index", place),
            "message": {"role": "assistant", "content": (_text(choice) or "")[:share]},
            "finish_reason": choice.get("finish_reason"),
            "cut": True,
        }
        for place, choice in enumerate(choices)
    ]


class ChoicePieces:
    """One choice of a stream: what its events added to each part of its message."""

    __slots__ = ("_calls", "_is_chat", "_scores", "_texts", "finish_reason")

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self._is_chat = False
        self._texts: defaultdict[str, list[str]] = defaultdict(list)
        self._calls: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        self._scores: defaultdict[str, list[Any]] = defaultdict(list)

    def add(self, choice: dict[str, Any], left: int) -> int:
        """Take one event's choice, of at most `left` characters. Returns the size of what it had."""
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        size = 0
        delta = choice.get("delta")
        if delta is None:
            delta = {"text": choice.get("text")}
        else:
            self._is_chat = True
        for name, piece in delta.items():
            if type(piece) is str:
                if name != "role":
                    allowed, size = left - size, size + len(piece)
                    self._texts[name].append(piece if size <= left else piece[: max(allowed, 0)])
            elif name == "tool_calls" and piece:
                size += self._add_calls(piece, left - size)
        if scores := choice.get("logprobs"):
            size += self._add_scores(scores, left - size)
        return size

    def _add_scores(self, scores: dict[str, Any], left: int) -> int:
        lists = {name: listed for name, listed in scores.items() if isinstance(listed, list)}
        size = LOGPROB_SIZE * sum(1 + len(_top(entry)) for listed in lists.values() for entry in listed)
        for name, listed in lists.items() if size <= left else ():
            self._scores[name] += listed
        return size

    def _add_calls(self, calls: list[dict[str, Any]], left: int) -> int:
        size = 0
        for call in calls:
            size += len((call.get("function") or {}).get("arguments") or "") + LOGPROB_SIZE
            if size <= left:
                self._calls[call.get("index", 0)].append(call)
        return size

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts.get("content" if self._is_chat else "text", ()))

    def choice(self, index: int) -> dict[str, Any]:
        """The choice as a response without a stream would have had it."""
        shape = {"message": self._message()} if self._is_chat else {"text": self.text}
        scores = dict(self._scores) or None
        return {"index": index, **shape, "finish_reason": self.finish_reason, "logprobs": scores}

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None}
        message |= {name: "".join(pieces) for name, pieces in self._texts.items()}
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [_call(pieces) for _, pieces in sorted(self._calls.items())]
        return message


def _top(entry: Any) -> list[Any]:
    return (entry.get("top_logprobs") or []) if isinstance(entry, dict) else []


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
