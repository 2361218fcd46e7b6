"""The fields of a request that shape its answer, and the parts of a message that can be learnt from."""

import json
from dataclasses import dataclass
from typing import Any

# The request's fields that shape its answer: what the chat template gets, the form that the answer must have, and what
# ends it. Sampling (temperature, top_p, seed, …) is none of them: it chooses one of the answers that a prompt has.
TEMPLATE_FIELDS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "documents",
    "chat_template_kwargs",
    "reasoning_effort",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
)
FORM_FIELDS = ("response_format", "structured_outputs", "logit_bias", "allowed_token_ids", "bad_words")
END_FIELDS = ("stop", "stop_token_ids", "max_tokens", "max_completion_tokens", "min_tokens", "ignore_eos")
SHAPING = frozenset((*TEMPLATE_FIELDS, *FORM_FIELDS, *END_FIELDS))
# The parts of a message's content that cannot be learnt from, by type.
MEDIA = {
    "image_url": "a picture",
    "input_image": "a picture",
    "image_pil": "a picture",
    "image_embeds": "a picture",
    "input_audio": "audio",
    "audio_url": "audio",
    "video_url": "a video",
    "file": "a file",
}
NOT_KEPT = "the prompt is not kept"
UNKNOWN_FORM = "the prompt has a form that LoraLoop does not know"
# What a request has that does not name the field.
DEFAULTS: dict[str, Any] = {
    "response_format": {"type": "text"},
    "add_generation_prompt": True,
    "continue_final_message": False,
    "parallel_tool_calls": True,
    "ignore_eos": False,
    "min_tokens": 0,
}
# The other fields of a message that chat templates render.
MESSAGE_FIELDS = ("name", "tool_call_id", "tool_calls", "reasoning", "reasoning_content")

Message = tuple[str, str] | tuple[str, str, str]
"""A message: role, text, and as JSON its other fields, such as the calls of tools."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a request makes no prompt."""

    reason: str


def shaping_options(body: dict[str, Any]) -> str:
    """The fields that shape an answer, as JSON, in one form for what means the same. "" has none."""
    found = {name: body[name] for name in SHAPING & body.keys() if body[name] not in (None, [], {})}
    if "max_completion_tokens" in found:
        found["max_tokens"] = found.pop("max_completion_tokens")
    if isinstance(found.get("stop"), str):
        found["stop"] = [found["stop"]]
    for name, default in DEFAULTS.items():
        if found.get(name) == default:
            del found[name]
    return fields_text(found)


def template_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """What `apply_chat_template` of a tokenizer gets of a prompt's options, as the engine gives it to the template."""
    found = {name: options[name] for name in ("tools", "documents", "reasoning_effort") if name in options}
    switches = options.get("chat_template_kwargs")
    begins = options.get("continue_final_message") is True
    return {
        **found,
        **(switches if isinstance(switches, dict) else {}),
        "add_generation_prompt": options.get("add_generation_prompt", not begins),
        "continue_final_message": begins,
    }


def fields_text(fields: dict[str, Any]) -> str:
    """Fields as JSON, sorted by name; "" without any. What is in them keeps its order, which templates render."""
    if not fields:
        return ""
    return json.dumps({name: fields[name] for name in sorted(fields)}, ensure_ascii=False, separators=(",", ":"))


def text_of(content: Any) -> str | Unreadable | None:
    """A message's content as text, None without one. Parts are joined by lines, as vLLM joins them."""
    match content:
        case None | str():
            return content
        case [_, *_]:
            for part in content:
                if not _is_text(part):
                    kind = part.get("type") if isinstance(part, dict) else None
                    found = MEDIA.get(str(kind))
                    return Unreadable(f"the prompt has {found}" if found else UNKNOWN_FORM)
            return "\n".join(part["text"] for part in content)
    return Unreadable(UNKNOWN_FORM)


def _is_text(part: Any) -> bool:
    match part:
        case {"type": "text", "text": str()}:
            return True
    return False


def message_of(message: Any) -> Message | Unreadable:
    """A message in the format of OpenAI's API as a value, or why it cannot be read."""
    match message:
        case {"role": str(role)}:
            text = text_of(message.get("content"))
        case _:
            return Unreadable(UNKNOWN_FORM)
    if isinstance(text, Unreadable):
        return text
    more = {name: message[name] for name in MESSAGE_FIELDS if message.get(name)}
    if text is None and not more:
        return Unreadable(UNKNOWN_FORM)
    return (role, text or "", fields_text(more)) if more else (role, text or "")
