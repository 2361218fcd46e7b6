"""The route book: docs/api.md, made from the routes of gateway and control as they are put together.

It owns the page's form; what a route says of itself is its function's docstring, its models and its keys.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel

from core.model_folder import ModelFolder as Base
from core.settings import build
from feedback.schema import MAX_BATCH, FeedbackRequest
from ops.api.openapi import body_of, program_routes, scopes_of, sentence
from ops.apps.control import create_app
from serve.gateway import openapi

HEAD = """\
# HTTP API

Two servers have an HTTP API. Apps call the gateway. People and programs that operate LoraLoop call control. Both take a
key as `Authorization: Bearer llk_…` ([keys](how-to/keys.md)). Each table names the scope that a route requires; `admin`
allows every route. Requests and responses are JSON. An error is `{"error": {"message", "type", "param", "code"}}`, and
its message says the fix. Made from the code by `make docs`.

## Gateway

OpenAI's routes, by any client of OpenAI's. The whole document is at `/openapi.json`.

| route | scope | what it does |
|---|---|---|"""
OPERATIONS = """
## Control

What `loraloop` and other programs ask. A field marked ? may be left out. The whole document, with the types of the
fields, is at control's `/openapi.json`, for keys with `ops:read`.

| route | scope | what it does | takes |
|---|---|---|---|"""


def page() -> str:
    """The whole page."""
    lines = [HEAD, *_gateway(), "", *_signal(), OPERATIONS, *_control()]
    return "\n".join(lines) + "\n"


def _gateway() -> Iterator[str]:
    for path, operations in openapi.paths(MAX_BATCH).items():
        scope = "feedback" if path.startswith("/v1/feedback") else "infer"
        for method, operation in operations.items():
            yield f"| `{method.upper()} {path}` | `{scope}` | {operation['summary']}. |"


def _signal() -> Iterator[str]:
    yield f"One feedback, or a list of up to {MAX_BATCH}:"
    yield ""
    yield "| field | what it is |"
    yield "|---|---|"
    for field, found in FeedbackRequest.model_json_schema()["properties"].items():
        yield f"| `{field}` | {_kind(found)} |"


def _control() -> Iterator[str]:
    for route in sorted(control_routes(), key=lambda route: (route.path, sorted(route.methods))):
        scopes = " or ".join(f"`{scope}`" for scope in scopes_of(route))
        method = ", ".join(sorted(route.methods - {"HEAD"}))
        taken = ", ".join(_fields(route)) or "–"
        yield f"| `{method} {route.path}` | {scopes or 'none'} | {sentence(route)} | {taken} |"


def control_routes() -> list[APIRoute]:
    """Control's routes for programs: neither pages for people nor what gateways say to it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = build({"data": folder, "models": {"reviews": {"labels": ["a", "b"]}}})
        app = create_app(settings=settings, base=Base("base", Path(folder)))
        app.state.control.store.close()
    return program_routes(app.routes)


def _fields(route: APIRoute) -> Iterator[str]:
    for parameter in route.dependant.query_params:
        nested = parameter.field_info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from _names(nested)
        else:
            yield f"`{parameter.alias}`{'' if parameter.field_info.is_required() else '?'}"
    model = body_of(route)
    if model is not None:
        yield from _names(model)


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"`{field.alias or name}`{'' if field.is_required() else '?'}"


def _kind(found: dict[str, Any]) -> str:
    """A field's JSON schema in a few words."""
    options = [option for option in found.get("anyOf", [found]) if option.get("type") != "null"]
    said = [
        ", ".join(f"`{value}`" for value in option["enum"]) if "enum" in option else option.get("type", "any")
        for option in options
    ]
    units = {"maxLength": "characters", "maxProperties": "entries"}
    limits = [f", up to {options[0][name]} {unit}" for name, unit in units.items() if name in options[0]]
    return " or ".join(said) + "".join(limits)
