"""Answers that are more than text: choices as the store has them, and their parts as people read them."""

from collections.abc import Iterator
from typing import Any

import orjson

Part = tuple[str, str]
"""What a part of an answer is, such as `text`, `refusal` or `call of rate`, and its text."""

# Fields of a message that are texts and no part of what the app shows as the answer.
ASIDES = {"reasoning": "reasoning", "reasoning_content": "reasoning", "refusal": "refusal"}


def parts_of_answer(answer: str | None, choices: str | None) -> list[list[Part]]:
    """The parts of every choice of a stored answer; `choices` is JSON. Empty if the answer is not kept."""
    if choices is None:
        return [] if answer is None else [[("text", answer)]]
    return [list(_parts(choice)) for choice in orjson.loads(choices)]


def line_of_answer(answer: str | None, choices: str | None) -> str | None:
    """A stored answer in one text: the choices' parts, with what they are where they are more than one text."""
    whole = parts_of_answer(answer, choices)
    if not whole:
        return None
    return " | ".join(
        "; ".join(text if kind == "text" else f"{kind}: {text}" for kind, text in parts) for parts in whole
    )


def _parts(choice: dict[str, Any]) -> Iterator[Part]:
    message = choice.get("message")
    if not isinstance(message, dict):
        yield "text", str(choice.get("text") or "")
        return
    for name, kind in ASIDES.items():
        if message.get(name):
            yield kind, _as_text(message[name])
    if message.get("content"):
        yield "text", _as_text(message["content"])
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        yield f"call of {function.get('name')}", str(function.get("arguments") or "")
    if choice.get("cut"):
        yield "cut", "the rest was too large to keep"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
