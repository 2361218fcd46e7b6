"""Answers that are more than text: choices as the store has them, calls of tools and JSON in one form."""

import json
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


def text_of_choice(answer: str | None, choices: str | None, choice: int | None) -> str | None:
    """The text of one choice of a stored answer. None without text, or if it is open which of several choices."""
    if choices is None:
        return answer if not choice else None
    whole = orjson.loads(choices)
    if (choice is None and len(whole) > 1) or (choice or 0) >= len(whole):
        return None
    found = whole[choice or 0]
    text = (found.get("message") or {}).get("content") if "message" in found else found.get("text")
    return text if isinstance(text, str) else None


def draft_of_answer(answer: str | None, choices: str | None) -> str | None:
    """The first choice as the text of a correction: its calls of tools in canonical form, or its text."""
    if choices is not None:
        for choice in orjson.loads(choices)[:1]:
            calls = (choice.get("message") or {}).get("tool_calls")
            return (calls_text(calls) if calls else None) or answer
    return answer


def as_canonical(value: Any) -> str:
    """JSON in one form: equal values have equal texts, in any order of their fields."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def json_in(text: str) -> Any:
    """The object or the array that a text is, or None where it is none."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def calls_in(text: str) -> list[dict[str, Any]] | None:
    """The calls of tools that a text in canonical form is, each with `name` and `arguments`; None where it is none."""
    match json_in(text):
        case {"tool_calls": [_, *_] as calls, **rest} if not rest and all(map(_is_call, calls)):
            return list(calls)
    return None


def _is_call(call: Any) -> bool:
    match call:
        case {"name": str(), "arguments": dict(), **rest}:
            return not rest
    return False


def canonical_calls(calls: Any) -> dict[str, Any]:
    """Calls of tools in one form. They may have the form of OpenAI's API. Raises ValueError that says what is wrong."""
    if not isinstance(calls, list) or not calls:
        raise ValueError("tool_calls takes a list of calls")
    return {"tool_calls": [_canonical_call(place, call) for place, call in enumerate(calls)]}


def _canonical_call(place: int, call: Any) -> dict[str, Any]:
    given = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or not given["name"]:
        raise ValueError(f"tool_calls.{place} has no name of a function")
    arguments = given.get("arguments", {})
    if isinstance(arguments, str):
        arguments = json_in(arguments) if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise ValueError(f"tool_calls.{place}.arguments is not a JSON object")
    return {"name": given["name"], "arguments": arguments}


def calls_text(calls: Any) -> str | None:
    """Calls as an engine's message has them, in canonical form; None where they are none, or not readable."""
    try:
        return as_canonical(canonical_calls(calls))
    except ValueError:
        return None


def in_order(value: Any, schema: Any) -> Any:
    """A JSON value with the fields of its objects in the order of the schema's properties; others come after them."""
    match value:
        case dict():
            properties = schema.get("properties") if isinstance(schema, dict) else None
            known = properties if isinstance(properties, dict) else {}
            names = [*(name for name in known if name in value), *(name for name in value if name not in known)]
            return {name: in_order(value[name], known.get(name)) for name in names}
        case list():
            items = schema.get("items") if isinstance(schema, dict) else None
            return [in_order(each, items) for each in value]
    return value
