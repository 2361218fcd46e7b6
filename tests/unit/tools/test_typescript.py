"""Facts about the TypeScript types that are made from the OpenAPI documents."""

from typing import Any

import pytest

from tools.typescript import namespace, type_of


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "integer", "minimum": 1}, "number"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"const": 'a"b'}, '"a\\"b"'),
        ({"enum": ["up", 1, None]}, '"up" | 1 | null'),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "Array<string | null>"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "number"),
        ({"$ref": "#/components/schemas/Chat"}, "Chat"),
        ({"title": "Value", "default": None}, "unknown"),
        ({"type": "object"}, "Record<string, unknown>"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "Record<string, number>"),
        ({"type": "object", "additionalProperties": False}, "Record<string, never>"),
        (
            {"type": "object", "properties": {"a": {"type": "string"}, "b-c": {}}, "required": ["a"]},
            '{\n  a: string;\n  "b-c"?: unknown;\n}',
        ),
        (
            {
                "type": ["object", "null"],
                "properties": {"a": {"type": "null", "description": "No */ end."}},
                "additionalProperties": True,
            },
            "{\n  /** No * / end. */\n  a?: null;\n  [further: string]: unknown;\n} | null",
        ),
    ],
)
def test_a_schema_has_its_type(schema: dict[str, Any], written: str) -> None:
    assert type_of(schema) == written


@pytest.mark.parametrize("schema", [{"type": "date"}, {"allOf": [{"type": "string"}]}])
def test_a_schema_without_a_type_is_refused_and_not_guessed(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no TypeScript type"):
        type_of(schema)


def test_an_operation_has_its_query_its_body_and_its_answers() -> None:
    in_json = {"content": {"application/json": {"schema": {"type": "string"}}}}
    operation = {
        "summary": "Say it",
        "parameters": [
            {"name": "limit", "in": "query", "schema": {"type": "integer"}},
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}},
        ],
        "requestBody": in_json,
        "responses": {"200": in_json, "202": in_json, "404": {"content": {"application/json": {"schema": {}}}}},
    }
    found = {"components": {"schemas": {}}, "paths": {"/x/{model}": {"post": operation}}}
    lines = "\n".join(namespace("gateway", found))
    assert '    /** Say it */\n    "POST /x/{model}": { query: {\n      limit?: number;\n    };' in lines
    assert "body: string; answer: string };" in lines


def test_a_schema_whose_name_is_no_types_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no name of a type"):
        list(namespace("control", {"components": {"schemas": {"Page[Run]": {}}}, "paths": {}}))
