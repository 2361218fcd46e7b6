"""Control's OpenAPI document: its routes for programs, the scopes that open them, and the models of their bodies."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel

from core.acts import no_act
from core.http import JsonBody, scope_of
from core.route_list import RouteList

Schema = dict[str, Any]
PREFIXES = ("/api/", "/v1/")
SIGNALS = ("/health", "/ready", "/metrics")
DESCRIPTION = "What `loraloop` and other programs ask control. Each operation names the scope that its key needs."
REFUSED = {
    "400": "The request cannot be read; the message names the field.",
    "401": "The key is missing, wrong or no longer valid.",
    "403": "The key lacks the scope.",
    "404": "There is no such thing.",
    "409": "Something else is in progress, or it is done already.",
    "413": "The body is too large.",
    "422": "A field is missing or wrong: `param` names it, and the message has the value and the fix.",
    "429": "The key has reached its limits.",
    "503": "It cannot be done at the moment.",
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong, and the fix."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field at fault."},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def create_router(app: FastAPI) -> RouteList:
    """The route that gives the document of an app's other routes."""
    router = RouteList()

    @router.get("/openapi.json", include_in_schema=False)
    @no_act("It describes the API.", texts=False)
    def openapi() -> JSONResponse:
        """The OpenAPI document of control's routes for programs."""
        return JSONResponse(document(program_routes(app.routes)))

    return router


def program_routes(routes: Iterable[Any]) -> list[APIRoute]:
    """Return the routes for programs: neither pages for people nor what gateways say to control."""
    found = [route for route in _flat(routes) if isinstance(route, APIRoute)]
    return [route for route in found if route.path.startswith(PREFIXES) or route.path in SIGNALS]


def body_of(route: APIRoute) -> type[BaseModel] | None:
    """Return the model of a route's JSON body."""
    calls = (dependency.call for dependency in route.dependant.dependencies)
    return next((call.model for call in calls if isinstance(call, JsonBody)), None)


def scopes_of(route: APIRoute) -> tuple[str, ...]:
    """Return the scopes that open a route, each alone. An open route has none."""
    for dependency in route.dependant.dependencies:
        if dependency.call is not None and not isinstance(dependency.call, JsonBody):
            wanted = inspect.getclosurevars(dependency.call).nonlocals.get("wanted")
            if wanted:
                return tuple(str(scope_of(each, route)) for each in wanted)
    return ()


def sentence(route: APIRoute) -> str:
    """Return the first paragraph of what a route's function says of itself."""
    return " ".join((inspect.getdoc(route.endpoint) or "").split("\n\n")[0].split())


def document(routes: Sequence[APIRoute]) -> Schema:
    """Return the document of these routes."""
    made = get_openapi(
        title="LoraLoop control", version="1", openapi_version="3.1.0", description=DESCRIPTION, routes=routes
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of an error, which is not ours
        schemas.pop(unused, None)
    schemas["Error"] = ERROR
    made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for route in routes:
        for method in route.methods if route.include_in_schema else ():
            _describe(made["paths"][route.path][method.lower()], route, schemas)
    return made


def _describe(operation: Schema, route: APIRoute, schemas: Schema) -> None:
    operation["summary"] = sentence(route)
    operation.pop("description", None)
    scopes = scopes_of(route)
    if scopes:
        operation["security"] = [{"key": []}]
        operation["description"] = f"Requires a key with the scope {' or '.join(scopes)}."
    model = body_of(route)
    if model is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _named(model, schemas)}},
        }
    errors = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    operation["responses"] |= {code: {"description": said, **errors} for code, said in REFUSED.items()}


def _named(model: type[BaseModel], schemas: Schema) -> Schema:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {})
    schemas[model.__name__] = schema
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        nested = getattr(route, "routes", None)
        if nested:
            yield from _flat(nested)
        else:
            yield route
