"""What the translations of requests share: fields that an API does not have, and tools that are functions."""

from typing import Any

from core.errors import InputError
from serve.gateway.translation import Body


def refuse_fields(body: Body, names: frozenset[str]) -> None:
    """Raises InputError for a field of the chat route that an answer of this API has no place for."""
    if names.isdisjoint(body):
        return
    for name in names & body.keys():
        raise InputError(f"{name}: is no field of this API.", field=name, hint="Use /v1/chat/completions for it.")


def function_tool(tool: Body, parameters: Body) -> Body:
    """A tool of the chat route.

    The fields have the order in which OpenAI's clients send them, because templates may render them in it.
    """
    function = {"name": tool["name"], "description": tool.get("description"), "parameters": parameters}
    function["strict"] = tool.get("strict")
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def json_schema_format(schema: Body, **more: Any) -> Body:
    """The field of the chat route that has an engine answer by a JSON schema."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, **more}}}
