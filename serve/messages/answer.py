"""A chat's answer in the format of Anthropic's Messages API, and its errors."""

from typing import Any

import orjson

Body = dict[str, Any]

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
UNREADABLE = 422
ANY_ERROR = "api_error"


def to_message(completion: Body) -> Body:
    """A chat completion as a message."""
    choice = completion["choices"][0]
    message = choice["message"]
    calls = message.get("tool_calls") or []
    blocks: list[Body] = []
    if thought := message.get("reasoning"):
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text := message.get("content"):
        blocks.append({"type": "text", "text": text})
    blocks += map(_tool_use, calls)
    reason, sequence = stop_reason(choice.get("finish_reason"), choice.get("stop_reason"), called=bool(calls))
    return {
        "id": completion["id"],
        "type": "message",
        "role": "assistant",
        "model": completion["model"],
        "content": blocks or [{"type": "text", "text": ""}],  # clients read the first block
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": to_usage(completion.get("usage")),
    }


def _tool_use(call: Body) -> Body:
    function = call["function"]
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": _arguments(function)}


def _arguments(function: Body) -> Body:
    """The arguments of a call; none if `max_tokens` cut them, which the stop reason says."""
    try:
        found = orjson.loads(function.get("arguments") or "{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def stop_reason(finish: str | None, stop: Any, *, called: bool) -> tuple[str, str | None]:
    """(stop_reason, stop_sequence) for the finish reason of a chat and what vLLM says it stopped at."""
    if finish == "length":
        return "max_tokens", None
    if called:
        return "tool_use", None
    return ("stop_sequence", stop) if isinstance(stop, str) else ("end_turn", None)


def to_usage(usage: Body | None) -> Body:
    """Token counts. Anthropic counts tokens of the prefix cache apart from the others."""
    found = usage or {}
    cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": (found.get("prompt_tokens") or 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": found.get("completion_tokens") or 0,
    }


def to_error(status: int, message: str, request_id: str | None = None) -> tuple[int, Body]:
    """(status, body) of an error. A body that cannot be read has status 400 there."""
    status = 400 if status == UNREADABLE else status
    kind = KINDS.get(status, KINDS[400] if status < 500 else ANY_ERROR)
    body: Body = {"type": "error", "error": {"type": kind, "message": message}}
    return status, body | ({"request_id": request_id} if request_id else {})
