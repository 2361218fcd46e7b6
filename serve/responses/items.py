"""Items of the Responses API as messages of a chat."""

from typing import Any

from core.errors import InputError

Item = dict[str, Any]
Message = dict[str, Any]

# A chat has the role "system" for what is said by the developer.
ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")


def read_input(given: Any) -> list[Item]:
    """The input of a request as items. Raises InputError."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if not isinstance(given, list) or not given:
        raise InputError("input: takes a string or a list with at least one item.", field="input")
    found: list[Item] = []
    for place, item in enumerate(given):
        if not isinstance(item, dict):
            raise InputError(f"input.{place}: takes an object.", field=f"input.{place}")
        found.append({"type": "message", **item} if "role" in item else item)
    return found


def to_messages(items: list[Item], where: str = "input") -> list[Message]:
    """The messages that these items are. Reasoning, a text and calls that follow each other are one message.

    Raises InputError that names the item.
    """
    found: list[Message] = []
    for place, item in enumerate(items):
        name = f"{where}.{place}"
        match item:
            case {"type": "message", "role": str(role)} if role in ROLES:
                _add_message(found, ROLES[role], _content(item.get("content"), name))
            case {"type": "function_call", "call_id": str(), "name": str()}:
                _joined(found).setdefault("tool_calls", []).append(_call(item))
            case {"type": "function_call_output", "call_id": str(call)}:
                content = _text_of(_content(item.get("output"), name, "output"))
                found.append({"role": "tool", "tool_call_id": call, "content": content})
            case {"type": "reasoning"}:
                if thought := _thought(item):
                    found.append({"role": "assistant", "content": None, "reasoning": thought})
            case {"type": str(kind)}:
                raise _unknown(kind, name)
            case _:
                raise InputError(f"{name}.type: names the item's type as a string.", field=f"{name}.type")
    return found


def _add_message(found: list[Message], role: str, content: Any) -> None:
    if role == "assistant":
        content = _text_of(content)
        last = found[-1] if found else {}
        # Reasoning comes before the text that it led to.
        if last.get("role") == "assistant" and last["content"] is None and "tool_calls" not in last:
            last["content"] = content
            return
    found.append({"role": role, "content": content})


def _joined(found: list[Message]) -> Message:
    """The assistant's message that a call is a part of."""
    if not found or found[-1]["role"] != "assistant":
        found.append({"role": "assistant", "content": None})
    return found[-1]


def _call(item: Item) -> Item:
    arguments = item.get("arguments")
    function = {"name": item["name"], "arguments": arguments if isinstance(arguments, str) else "{}"}
    return {"id": item["call_id"], "type": "function", "function": function}


def _thought(item: Item) -> str:
    given = item.get("content") or item.get("summary")
    parts = given if isinstance(given, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _content(content: Any, where: str, field: str = "content") -> str | list[Item]:
    """A text, or the parts of a message. Raises InputError."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InputError(f"{where}.{field}: takes a string or a list of parts.", field=f"{where}.{field}")
    parts = [_part(part, f"{where}.{field}.{place}") for place, part in enumerate(content)]
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: Any, where: str) -> Item:
    match part:
        case {"type": str(kind), "text": str(text)} if kind in TEXTS:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str(url)}:
            picture = {"url": url} | ({"detail": part["detail"]} if part.get("detail") else {})
            return {"type": "image_url", "image_url": picture}
        case {"type": "input_audio", "input_audio": dict(audio)}:
            return {"type": "input_audio", "input_audio": audio}
        case {"type": str(kind)}:
            raise _unknown(kind, where)
    raise InputError(f"{where}: a part is an object with a type.", field=where)


def _text_of(content: str | list[Item]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _unknown(kind: str, where: str) -> InputError:
    return InputError(
        f"{where}: the type {kind[:64]!r} cannot be sent to this model.",
        field=where,
        hint="Use messages with texts and pictures, function_call, function_call_output and reasoning.",
    )
