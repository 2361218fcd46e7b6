"""Facts about the OpenAPI document: it is one, and the gateway answers as it says."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI

from feedback.schema import MAX_BATCH, FeedbackRequest
from serve.gateway.openapi import describe

ANSWERED = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/v1/feedback",
]


@pytest.fixture
def document() -> dict[str, Any]:
    app = FastAPI(title="gateway")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {}

    describe(app, signal=FeedbackRequest.model_json_schema(), most_signals=MAX_BATCH)
    return app.openapi()


def within(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of the document that can be checked alone."""
    return {"components": document["components"]} | schema


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def body(document: dict[str, Any], path: str) -> tuple[dict[str, Any], Any]:
    """(schema, example) of what a route takes."""
    found = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return within(document, found["schema"]), found["example"]


def test_every_reference_of_the_document_is_there(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        assert reference.rpartition("/")[2] in document["components"]["schemas"]


def test_every_schema_of_the_document_is_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_apps_other_routes_stay_in_the_document_and_it_is_the_same_each_time(document: dict[str, Any]) -> None:
    assert {"/health", "/v1/chat/completions", "/v1/models/{model}"} <= set(document["paths"])
    app = FastAPI()
    describe(app, signal=FeedbackRequest.model_json_schema(), most_signals=MAX_BATCH)
    assert json.dumps(app.openapi()) == json.dumps(app.openapi())


@pytest.mark.parametrize("path", ANSWERED)
def test_every_example_is_one_of_its_schema(document: dict[str, Any], path: str) -> None:
    schema, example = body(document, path)
    jsonschema.validate(example, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"model": 5}, schema)


@pytest.mark.parametrize("path", ANSWERED)
def test_the_gateway_answers_the_example_and_refuses_in_the_shapes_of_the_document(
    gateway: Any, document: dict[str, Any], path: str
) -> None:
    _, example = body(document, path)
    answers = document["paths"][path]["post"]["responses"]
    http, statuses = gateway.open().http, []
    for sent in (example, example | {"model": "none", "type": "none"}):
        answer = http.post(path, json=sent)
        statuses.append(answer.status_code)
        described = answers[str(answer.status_code)]
        jsonschema.validate(answer.json(), within(document, described["content"]["application/json"]["schema"]))
    assert statuses in ([200, 404], [202, 422])


def test_the_models_are_listed_as_the_document_says(gateway: Any, document: dict[str, Any]) -> None:
    described = document["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(gateway.open().http.get("/v1/models").json(), within(document, described))
