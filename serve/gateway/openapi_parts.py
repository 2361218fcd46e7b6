"""The parts that the OpenAPI document is made of."""

from typing import Any

Schema = dict[str, Any]

REFUSED = {
    400: "The engine refuses the request; it says why.",
    401: "The key is missing, wrong or no longer valid.",
    403: "The key lacks a scope or the model.",
    404: "No model or stored completion of that name.",
    413: "The body is too large.",
    415: "The body is compressed in a way that is not read here; `Accept-Encoding` names the others.",
    422: "The body is not what the gateway can read; the error names the field.",
    429: "The key's limit is reached, or the engines are full. Try again after `Retry-After`.",
    500: "An unexpected error; the log has it.",
    503: "No engine answers, the disk is full, or control is away. Try again after `Retry-After`.",
    502: "No engine has the model that the settings name.",
    504: "The engine did not answer in time.",
}


def an_object(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object; fields that are not named here go through as they are."""
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": True} | more


def said(description: str, *types: str) -> Schema:
    """A value with its description."""
    return {"type": types[0] if len(types) == 1 else [*types], "description": description}


def a_list(items: Schema, **more: Any) -> Schema:
    """A list of such items."""
    return {"type": "array", "items": items} | more


def reference(name: str) -> Schema:
    """A schema of the document, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def a_page(name: str) -> Schema:
    """A page of a list."""
    ends = {side: {"type": ["string", "null"]} for side in ("first_id", "last_id")}
    page = {"object": {"const": "list"}, "data": a_list(reference(name)), "has_more": {"type": "boolean"}}
    return an_object(page | ends, ("object", "data", "first_id", "last_id", "has_more"))


def in_json(schema: Schema) -> Schema:
    """A body in JSON."""
    return {"content": {"application/json": {"schema": schema}}}


def a_header(description: str) -> Schema:
    """A header with its description."""
    return {"schema": {"type": "string"}, "description": description}


ASK_HEADER = a_header("`label` on a random share of answers: ask the user which label is right. Absent on others.")


def refusals(*codes: int, error: str = "Error") -> Schema:
    """The errors of a route, by their status."""
    found: Schema = {}
    for code in sorted({*codes, 415}) if 413 in codes else codes:
        found[str(code)] = {"description": REFUSED[code], **in_json(reference(error))}
        if code in (429, 503):
            found[str(code)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return found


def a_body(schema: Schema, example: Any) -> Schema:
    """The body of a request, with an example."""
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def a_query(name: str, description: str, **shape: Any) -> Schema:
    """A parameter in the query."""
    return {"name": name, "in": "query", "required": False, "description": description, "schema": shape}
