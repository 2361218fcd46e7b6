"""Facts about control's OpenAPI document, and what requests made from it get: never an error of the server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from core.api_keys import Scope
from tests.support.authorization import Control

# Requests of one operation. HYPOTHESIS_PROFILE=search draws other ones.
REQUESTS = 15
# What takes seconds, or answers in bytes, is left to its own tests.
LEFT_OUT = {("post", "/api/backup"), ("get", "/metrics")}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    made = Control(Path(tmp_path_factory.mktemp("control")))
    with start_blocking_portal() as made.client.portal:
        yield made
    made.control.store.close()


@pytest.fixture(scope="module")
def document(control: Control) -> dict[str, Any]:
    return control.ask(("GET", "/openapi.json"), control.keys.by_scope[Scope.OPS_READ]).json()


def test_the_document_has_bodies_with_types_and_the_scopes(document: dict[str, Any]) -> None:
    rollback = document["paths"]["/api/models/{model}/rollback"]["post"]
    assert "ops:write" in rollback["description"]
    name = rollback["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = document["components"]["schemas"][name]["properties"]
    assert {"to", "keep_data", "comment"} <= fields.keys() and fields["comment"]["maxLength"] == 2000
    quarantine = document["paths"]["/api/quarantine"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "from" in document["components"]["schemas"][quarantine["$ref"].rpartition("/")[2]]["properties"]
    assert not [path for path in document["paths"] if path.startswith(("/internal", "/login", "/promotions"))]


def test_no_request_made_from_the_document_meets_an_error_of_the_server(
    control: Control, document: dict[str, Any]
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    chosen = [each for each in operations if (each.method, each.path) not in LEFT_OUT]
    key = control.keys.by_scope[Scope.ADMIN]
    statuses: set[int] = set()

    for operation in chosen:

        @settings(max_examples=REQUESTS, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
        @given(case=operation.as_strategy() | operation.as_strategy(schemathesis.GenerationMode.NEGATIVE))
        def ask(case: Any) -> None:
            sent = case.as_transport_kwargs()
            url = sent.pop("url")
            headers = {**(sent.pop("headers", None) or {}), "Authorization": f"Bearer {key}"}
            kept = {name: value for name, value in sent.items() if name in ("params", "json")}
            if isinstance(sent.get("data"), bytes | str):
                kept["content"] = sent["data"]
            answer = control.client.request(sent["method"], url, headers=headers, **kept)
            told = case.operation.definition.raw["responses"]
            assert answer.status_code < 500 or str(answer.status_code) in told, (url, kept, answer.text)
            statuses.add(answer.status_code)

        ask()
    assert {200, 404, 422} <= statuses and len(chosen) > 45
