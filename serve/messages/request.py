"""A request of Anthropic's Messages API as a request of the chat route."""

from typing import Any

from core.errors import InputError
from serve.gateway.translated_request import function_tool, json_schema_format, refuse_fields
from serve.messages.content import Message, read_messages, read_system

Body = dict[str, Any]

# What is translated. All other fields have the chat route's meaning, such as vLLM's own for sampling.
TRANSLATED = frozenset(
    (
        "max_tokens",
        "messages",
        "metadata",
        "output_config",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    )
)
# Fields of the chat route that an answer in this format has no place for, or that the translation sets.
NOT_HERE = frozenset(("max_completion_tokens", "n", "response_format", "stop", "stream_options"))


def to_chat(body: Body) -> Body:
    """The request for the chat route. Raises InputError that names the field."""
    limit = body.get("max_tokens")
    if type(limit) is not int or limit < 1:
        raise InputError("max_tokens: takes a number of at least 1, and is required.", field="max_tokens")
    chat = to_prompt(body)
    chat["max_tokens"] = limit
    if stops := body.get("stop_sequences"):
        chat["stop"] = stops
    if (stream := body.get("stream")) is not None:
        chat["stream"] = stream
    if stream:
        # The first event has the tokens of the prompt, so the engine counts from the first.
        chat["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    return chat | _metadata(body.get("metadata"))


def to_prompt(body: Body) -> Body:
    """The part of the request that makes the prompt, as the chat route has it. Raises InputError."""
    refuse_fields(body, NOT_HERE)
    messages = [*read_system(body.get("system")), *read_messages(body.get("messages"))]
    if not messages:
        raise InputError("messages: have no text.", field="messages", hint="Send a message of the user.")
    chat = {name: value for name, value in body.items() if name not in TRANSLATED}
    chat["messages"] = messages
    if _is_begun(messages[-1]):
        chat |= {"continue_final_message": True, "add_generation_prompt": False}
    for part in (_tools(body), _output(body.get("output_config")), _thinking(body.get("thinking"))):
        chat |= part
    return chat


def _is_begun(last: Message) -> bool:
    """Whether the last message is the beginning of the answer."""
    return last["role"] == "assistant" and bool(last["content"]) and "tool_calls" not in last


def _metadata(metadata: Any) -> Body:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InputError("metadata: takes an object.", field="metadata")
    user = metadata.get("user_id")
    return {"metadata": metadata} | ({"user": user} if isinstance(user, str) and user else {})


def _tools(body: Body) -> Body:
    found: Body = {}
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise InputError("tools: takes a list.", field="tools")
    if tools:
        found["tools"] = [_tool(tool, f"tools.{place}") for place, tool in enumerate(tools)]
    if (choice := body.get("tool_choice")) is not None:
        found |= _choice(choice)
    return found


def _tool(tool: Any, where: str) -> Body:
    match tool:
        case {"name": str(), "input_schema": dict(schema)} if tool.get("type") in (None, "custom"):
            return function_tool(tool, schema if "type" in schema else {"type": "object", **schema})
        case {"type": str(kind)} if kind != "custom":
            raise InputError(
                f"{where}: a tool of the type {kind[:64]!r} runs at Anthropic.",
                field=where,
                hint="Use tools with a name and an input_schema.",
            )
    raise InputError(f"{where}: a tool has a name and an input_schema.", field=where)


def _choice(choice: Any) -> Body:
    kinds = {"auto": "auto", "any": "required", "none": "none"}
    match choice:
        case {"type": "tool", "name": str(name)}:
            found: Body = {"tool_choice": {"type": "function", "function": {"name": name}}}
        case {"type": str(kind)} if kind in kinds:
            found = {"tool_choice": kinds[kind]}
        case _:
            raise InputError(
                "tool_choice: takes an object with the type auto, any, none, or tool with a name.", field="tool_choice"
            )
    if choice.get("disable_parallel_tool_use") is not None:
        found["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    return found


def _output(config: Any) -> Body:
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InputError("output_config: takes an object.", field="output_config")
    found: Body = {}
    match config.get("format"):
        case None:
            pass
        case {"type": "json_schema", "schema": dict(schema)}:
            found |= json_schema_format(schema)
        case _:
            raise InputError(
                "output_config.format: takes the type json_schema with a schema.", field="output_config.format"
            )
    if config.get("effort") is not None:
        found["reasoning_effort"] = config["effort"]
    return found


def _thinking(thinking: Any) -> Body:
    match thinking:
        case None | {"type": "adaptive"}:
            return {}
        case {"type": "disabled"}:
            return {"reasoning_effort": "none"}
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return {"thinking_token_budget": budget}
    raise InputError("thinking: takes the type adaptive, disabled, or enabled with budget_tokens.", field="thinking")
