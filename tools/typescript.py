"""TypeScript types of both HTTP APIs, made from their OpenAPI documents: docs/loraloop.d.ts.

It reads what our documents use of JSON Schema, and refuses the rest.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from feedback.schema import MAX_BATCH, FeedbackRequest
from ops.api.openapi import document
from serve.gateway.openapi import describe
from tools.docs_api import control_routes

Schema = dict[str, Any]

HEAD = """\
// Types of LoraLoop's HTTP APIs, made from their OpenAPI documents by `make docs`.
//
// `Operations` has each route: `query` and `body` are what it takes, `answer` is the JSON of a success.
"""
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
NAME = re.compile(r"[A-Za-z_$][\w$]*")


def types() -> str:
    """Return the file."""
    gateway = FastAPI()
    describe(gateway, signal=FeedbackRequest.model_json_schema(), most_signals=MAX_BATCH)
    lines = [HEAD]
    for name, found in (("gateway", gateway.openapi()), ("control", document(control_routes()))):
        lines += [*namespace(name, found), ""]
    return "\n".join(lines).rstrip() + "\n"


def namespace(name: str, found: Schema) -> Iterator[str]:
    """Return the lines of one document's types."""
    yield f"export namespace {name} {{"
    for title, schema in sorted(found["components"]["schemas"].items()):
        if not NAME.fullmatch(title):
            raise ValueError(f"{title!r} is no name of a type; name the schema in one word")
        yield f"  type {title} = {type_of(schema, '  ')};"
    yield "  interface Operations {"
    for path, operations in sorted(found["paths"].items()):
        for method, operation in operations.items():
            yield f"    /** {_comment(operation['summary'])} */"
            yield f"    {json.dumps(f'{method.upper()} {path}')}: {_operation(operation)};"
    yield "  }"
    yield "}"


def _operation(operation: Schema) -> str:
    parts: list[str] = []
    asked = [parameter for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    if asked:
        required = [parameter["name"] for parameter in asked if parameter.get("required")]
        properties = {parameter["name"]: parameter["schema"] for parameter in asked}
        parts.append(f"query: {_object({'properties': properties, 'required': required}, ' ' * 4)}")
    if (body := operation.get("requestBody")) and (schema := _json(body)) is not None:
        parts.append(f"body: {type_of(schema, ' ' * 4)}")
    answers = [_json(answer) for code, answer in operation["responses"].items() if code.startswith("2")]
    options = [type_of(schema, " " * 4) for schema in answers if schema is not None]
    parts.append(f"answer: {' | '.join(dict.fromkeys(options)) or 'unknown'}")
    return f"{{ {'; '.join(parts)} }}"


def _json(carrier: Schema) -> Schema | None:
    """The schema of a body in JSON, if it has one."""
    found = carrier.get("content", {}).get("application/json")
    return None if found is None else found["schema"]


def type_of(schema: Schema, indent: str = "") -> str:
    """Return the TypeScript type of a JSON schema. Raises ValueError for what cannot be said in one."""
    match schema:
        case {"$ref": str(reference)}:
            written = reference.rpartition("/")[2]
        case {"const": value}:
            written = json.dumps(value)
        case {"enum": values}:
            written = " | ".join(map(json.dumps, values))
        case {"anyOf": options} | {"oneOf": options}:
            written = " | ".join(dict.fromkeys(type_of(option, indent) for option in options))
        case {"type": list(kinds)}:
            written = " | ".join(type_of(schema | {"type": kind}, indent) for kind in kinds)
        case {"type": "array"}:
            written = f"Array<{type_of(schema.get('items', {}), indent)}>"
        case {"type": "object"}:
            written = _object(schema, indent)
        case {"type": str(kind)} if kind in SIMPLE:
            written = SIMPLE[kind]
        case _ if not schema.keys() - {"title", "description", "default"}:
            written = "unknown"
        case _:
            raise ValueError(f"there is no TypeScript type for {json.dumps(schema)[:200]}")
    return written


def _object(schema: Schema, indent: str) -> str:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    others = schema.get("additionalProperties")
    if not properties:
        values = "unknown" if others in (None, True) else type_of(others, indent) if others else "never"
        return f"Record<string, {values}>"
    inner, lines = indent + "  ", ["{"]
    for name, value in properties.items():
        if "description" in value:
            lines.append(f"{inner}/** {_comment(value['description'])} */")
        shown = name if NAME.fullmatch(name) else json.dumps(name)
        lines.append(f"{inner}{shown}{'' if name in required else '?'}: {type_of(value, inner)};")
    if others:
        lines.append(f"{inner}[further: string]: unknown;")
    return "\n".join([*lines, f"{indent}}}"])


def _comment(text: str) -> str:
    return " ".join(text.split()).replace("*/", "* /")
