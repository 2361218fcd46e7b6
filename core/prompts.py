"""Prompts as values, read from captured requests in the two formats of OpenAI's API."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

import orjson

from core.records import Endpoint

PASSAGES = "What may help to answer:"


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt as messages: (role, content) pairs."""

    messages: tuple[tuple[str, str], ...]

    def as_openai(self) -> list[dict[str, str]]:
        """Return the messages in the format of OpenAI's API."""
        return [{"role": role, "content": content} for role, content in self.messages]


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt as plain text, for the completions route."""

    text: str


Prompt = Chat | Text


def from_request(endpoint: Endpoint, body: dict[str, Any]) -> Prompt | None:
    """The prompt of a captured request, or None when it is not text alone (pictures, token ids, tools)."""
    if endpoint == "completion":
        text = body.get("prompt")
        return Text(text) if isinstance(text, str) and text else None
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or body.get("tools"):
        return None
    pairs: list[tuple[str, str]] = []
    for message in messages:
        match message:
            case {"role": "tool"} | {"tool_calls": [_, *_]}:
                return None
            case {"role": str(role), "content": content} if (text := _text(content)) is not None:
                pairs.append((role, text))
            case _:
                return None
    return Chat(tuple(pairs))


def from_stored(endpoint: Endpoint, request: str | None) -> Prompt | None:
    """The prompt of a request as the store has it. None if it is not kept, not text alone, or not valid Unicode."""
    try:
        return from_request(endpoint, orjson.loads(request)) if request else None
    except orjson.JSONDecodeError:
        return None


def _text(content: Any) -> str | None:
    """A message's content as text, or None when it is more. Parts are joined by lines, as vLLM joins them."""
    match content:
        case str():
            return content
        case [_, *_] if all(_is_text(part) for part in content):
            return "\n".join(part["text"] for part in content)
    return None


def _is_text(part: Any) -> bool:
    match part:
        case {"type": "text", "text": str()}:
            return True
    return False


def subject(prompt: Prompt) -> str:
    """What the prompt is about: the last user message, or the whole text."""
    match prompt:
        case Text(text):
            return text
        case Chat(messages):
            return next((content for role, content in reversed(messages) if role == "user"), messages[-1][1])


def whole_text(prompt: Prompt) -> str:
    """Every text of the prompt, one message per line, without roles."""
    return prompt.text if isinstance(prompt, Text) else "\n".join(content for _, content in prompt.messages)


def answer_text(prompt: Prompt, answer: str) -> str:
    """How an answer joins on: after plain text with a space, unless the text ends in one."""
    if isinstance(prompt, Text) and not prompt.text[-1:].isspace():
        return " " + answer
    return answer


def with_system(prompt: Prompt, instruction: str) -> Prompt:
    """The prompt under another instruction: as the system message, or as the text's first line."""
    match prompt:
        case Text(text):
            return Text(f"{instruction}\n{text}")
        case Chat(messages):
            kept = tuple(m for m in messages if m[0] != "system")
            return Chat((("system", instruction), *kept))


def with_examples(prompt: Prompt, examples: Sequence[tuple[Prompt, str]]) -> Prompt:
    """The prompt with answered examples before its question, the nearest last."""
    match prompt:
        case Text(text):
            shown = [subject(p) + answer_text(p, answer) for p, answer in examples]
            return Text("\n\n".join([*shown, text]))
        case Chat(messages):
            turns = [turn for p, a in examples for turn in (("user", subject(p)), ("assistant", a))]
            return Chat((*messages[:-1], *turns, messages[-1]))


def with_passages(prompt: Prompt, passages: Sequence[str]) -> Prompt:
    """The prompt with passages to answer from before all else: at the end of its system message, or the text's head."""
    if not passages:
        return prompt
    shown = "\n\n".join([PASSAGES, *passages])
    match prompt:
        case Text(text):
            return Text(f"{shown}\n\n{text}")
        case Chat(messages) if messages[0][0] == "system":
            return Chat((("system", f"{messages[0][1]}\n\n{shown}"), *messages[1:]))
        case Chat(messages):
            return Chat((("system", shown), *messages))


def to_json(prompt: Prompt) -> str:
    """The prompt as JSON, for snapshots, in the bytes of `json.dumps`: a snapshot's hash depends on them."""
    if isinstance(prompt, Text):
        return encode_basestring(prompt.text)
    messages = (
        f'{{"role": {encode_basestring(role)}, "content": {encode_basestring(content)}}}'
        for role, content in prompt.messages
    )
    return f"[{', '.join(messages)}]"


def from_json(text: str) -> Prompt:
    """The inverse of `to_json`."""
    data = _decode(text)
    return Text(data) if isinstance(data, str) else Chat(tuple((m["role"], m["content"]) for m in data))


def _decode(text: str) -> Any:
    """JSON as a value. orjson is faster, but refuses half characters."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return json.loads(text)
