"""The messages of a request in Anthropic's format as messages in OpenAI's."""

from typing import Any

import orjson

from core.errors import InputError

Part = dict[str, Any]
Message = dict[str, Any]

# Blocks that only Anthropic itself can read; a client sends them back unchanged.
OPAQUE = ("redacted_thinking",)
# Claude Code's system prompt begins with this block. It has a hash per request, so no two prompts would be equal.
BILLING = "x-anthropic-billing-header"


def read_system(system: Any, name: str = "system") -> list[Message]:
    """The system prompt as messages: one or none. Raises InputError that names the block, by the name of all."""
    text = "".join(_texts(system, name))
    return [{"role": "system", "content": text}] if text else []


def read_messages(messages: Any) -> list[Message]:
    """The messages of a request. Raises InputError that names the block."""
    if not isinstance(messages, list) or not messages:
        raise InputError("messages: takes a list with at least one message.", field="messages")
    found: list[Message] = []
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        match role:
            case "user":
                found += _user(content, where)
            case "assistant":
                found.append(_assistant(content, where))
            case "system":
                found += read_system(content, f"{where}.content")
            case _:
                raise InputError(f"{where}.role: takes user, assistant or system.", field=f"{where}.role")
    return found


def _user(content: Any, where: str) -> list[Message]:
    """A user's message; results of tools are messages of their own before it."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    parts: list[Part] = []
    results: list[Message] = []
    for name, kind, block in _blocks(content, f"{where}.content"):
        match kind:
            case "tool_result":
                results += _result(block, name)
            case _:
                parts.append(_part(kind, block, name))
    return [*results, {"role": "user", "content": _plain(parts)}] if parts or not results else results


def _result(block: Part, where: str) -> list[Message]:
    """The result of a tool, and its pictures as a message of the user, since no other message may have any."""
    call = block.get("tool_use_id")
    if not isinstance(call, str):
        raise InputError(f"{where}.tool_use_id: names the call as a string.", field=f"{where}.tool_use_id")
    content = block.get("content")
    if content is None or isinstance(content, str):
        return [{"role": "tool", "tool_call_id": call, "content": content or ""}]
    parts = [_part(kind, part, name) for name, kind, part in _blocks(content, f"{where}.content")]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    found: list[Message] = [{"role": "tool", "tool_call_id": call, "content": text}]
    pictures = [part for part in parts if part["type"] != "text"]
    return [*found, {"role": "user", "content": pictures}] if pictures else found


def _assistant(content: Any, where: str) -> Message:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Part] = []
    for name, kind, block in _blocks(content, f"{where}.content"):
        match kind:
            case "text":
                texts.append(_text(block, name))
            case "thinking":
                thoughts.append(str(block.get("thinking") or ""))
            case "tool_use":
                calls.append(_call(block, name))
            case _ if kind in OPAQUE:
                pass
            case _:
                raise _unknown(kind, name)
    message: Message = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        message["reasoning"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(block: Part, where: str) -> Part:
    match block:
        case {"id": str(identity), "name": str(name)}:
            arguments = orjson.dumps(block.get("input") or {}).decode()
            return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
    raise InputError(f"{where}: a tool_use block has an id and a name.", field=where)


def _part(kind: str, block: Part, where: str) -> Part:
    match kind, block.get("source"):
        case "text", _:
            return {"type": "text", "text": _text(block, where)}
        case "image", {"type": "url", "url": str(url)}:
            return {"type": "image_url", "image_url": {"url": url}}
        case "image", {"type": "base64", "media_type": str(media), "data": str(data)}:
            return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
        case "document", {"type": "text", "data": str(text)}:
            return {"type": "text", "text": text}
    raise _unknown(kind, where)


def _plain(parts: list[Part]) -> str | list[Part]:
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _text(block: Part, where: str) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise InputError(f"{where}.text: takes a string.", field=f"{where}.text")
    return text


def _texts(content: Any, where: str) -> list[str]:
    """The texts of a system prompt."""
    found = [content] if isinstance(content, str) else []
    for name, kind, block in () if content is None or isinstance(content, str) else _blocks(content, where):
        if kind != "text":
            raise _unknown(kind, name)
        found.append(_text(block, name))
    return [text for text in found if not text.startswith(BILLING)]


def _blocks(content: Any, where: str) -> list[tuple[str, str, Part]]:
    """(name, type, block) of each block. Raises InputError."""
    if not isinstance(content, list):
        raise InputError(f"{where}: takes a string or a list of blocks.", field=where)
    found: list[tuple[str, str, Part]] = []
    for place, block in enumerate(content):
        name = f"{where}.{place}"
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InputError(f"{name}: a block is an object with a type.", field=name)
        found.append((name, block["type"], block))
    return found


def _unknown(kind: str, where: str) -> InputError:
    return InputError(
        f"{where}: a block of the type {kind[:64]!r} cannot be sent to this model.",
        field=where,
        hint="Use text, image, tool_use, tool_result and thinking blocks; a document may have a text source.",
    )
