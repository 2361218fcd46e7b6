"""A request of OpenAI's Responses API as a request of the chat route."""

from typing import Any

from core.errors import InputError
from serve.gateway.translated_request import function_tool, json_schema_format, refuse_fields
from serve.responses.items import Item, Message

Body = dict[str, Any]

# What is translated, or has no meaning for a chat. All other fields have the chat route's meaning.
TRANSLATED = frozenset(
    (
        "background",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "previous_response_id",
        "reasoning",
        "store",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
    )
)
NOT_SERVED = {
    "background": "Send the request without it, and read the answer as a stream.",
    "conversation": "Send previous_response_id.",
    "prompt": "Send the prompt's text as instructions.",
}
# Fields of the chat route that an answer in this format has no place for, or that the translation sets.
NOT_HERE = frozenset(("logprobs", "max_completion_tokens", "max_tokens", "messages", "n", "response_format"))
# What a JSON schema may have in addition.
NAMED = ("name", "strict", "description")
LOGPROBS = "message.output_text.logprobs"


def to_chat(body: Body, items: list[Message], before: list[Message]) -> Body:
    """The request for the chat route: its own messages after those of the responses before it. Raises InputError."""
    _check(body)
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise InputError("instructions: takes a string.", field="instructions")
    begin = [{"role": "system", "content": instructions}] if instructions else []
    chat = {name: value for name, value in body.items() if name not in TRANSLATED}
    chat["messages"] = [*begin, *before, *items]
    chat["store"] = body.get("store") is not False
    if (limit := body.get("max_output_tokens")) is not None:
        chat["max_completion_tokens"] = limit
    if (stream := body.get("stream")) is not None:
        chat["stream"] = stream
    if stream:
        chat["stream_options"] = {"include_usage": True}
    for part in (_tools(body), _text(body.get("text")), _reasoning(body.get("reasoning")), _logprobs(body)):
        if part:
            chat |= part
    return chat


def _check(body: Body) -> None:
    for name, fix in NOT_SERVED.items():
        if body.get(name) not in (None, False):
            raise InputError(f"{name}: is not served.", field=name, hint=fix)
    refuse_fields(body, NOT_HERE)
    store = body.get("store")
    if store is not None and not isinstance(store, bool):
        raise InputError("store: takes true or false.", field="store")
    limit = body.get("max_output_tokens")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InputError("max_output_tokens: takes a number of at least 1.", field="max_output_tokens")


def _tools(body: Body) -> Body:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is None and choice is None:
        return {}
    if tools is not None and not isinstance(tools, list):
        raise InputError("tools: takes a list.", field="tools")
    made = [_tool(tool, f"tools.{place}") for place, tool in enumerate(tools or ())]
    found: Body = {}
    match choice:
        case None:
            pass
        case "auto" | "none" | "required":
            found["tool_choice"] = choice
        case {"type": "function", "name": str(name)}:
            found["tool_choice"] = {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(allowed)}:
            names = [tool.get("name") for tool in allowed if isinstance(tool, dict)]
            made = [tool for tool in made if tool["function"]["name"] in names]
            found["tool_choice"] = mode
        case _:
            raise InputError(
                "tool_choice: takes auto, none, required, a function by its name, or allowed_tools.",
                field="tool_choice",
            )
    if made:
        return found | {"tools": made}
    if found.get("tool_choice") in (None, "auto", "none"):
        return {}
    raise InputError("tool_choice: needs tools that it may choose.", field="tool_choice")


def _tool(tool: Any, where: str) -> Item:
    match tool:
        case {"type": "function", "name": str()}:
            return function_tool(tool, tool.get("parameters") or {"type": "object", "properties": {}})
        case {"type": str(kind)} if kind != "function":
            raise InputError(
                f"{where}: a tool of the type {kind[:64]!r} runs at OpenAI.",
                field=where,
                hint="Use tools of the type function.",
            )
    raise InputError(f"{where}: a tool has the type function and a name.", field=where)


def _text(text: Any) -> Body:
    if text is None:
        return {}
    match text:
        case {"format": None | {"type": "text"}}:
            return {}
        case {"format": {"type": "json_object"}}:
            return {"response_format": {"type": "json_object"}}
        case {"format": {"type": "json_schema", "schema": dict(schema)} as form}:
            return json_schema_format(
                schema, **{name: form[name] for name in NAMED if form.get(name) not in (None, "")}
            )
        case dict() if "format" not in text:
            return {}
    raise InputError(
        "text.format: takes the type text, json_object, or json_schema with a schema.", field="text.format"
    )


def _reasoning(reasoning: Any) -> Body:
    if reasoning is None:
        return {}
    if not isinstance(reasoning, dict):
        raise InputError("reasoning: takes an object.", field="reasoning")
    effort = reasoning.get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


def _logprobs(body: Body) -> Body:
    include, top = body.get("include"), body.get("top_logprobs")
    if include is not None and not isinstance(include, list):
        raise InputError("include: takes a list.", field="include")
    if LOGPROBS not in (include or ()) and not top:
        return {}
    return {"logprobs": True} | ({"top_logprobs": top} if top else {})
