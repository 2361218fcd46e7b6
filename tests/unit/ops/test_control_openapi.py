"""Facts about control's OpenAPI document, and what requests made from it get: never an error of the server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from core.api_keys import Scope
from core.clock import utc_now
from core.db import runs
from tests.support.authorization import Control
from tests.support.schema_cases import ask_all, operations_of

# What takes seconds, or answers in bytes, is left to its own tests.
LEFT_OUT = {("post", "/api/backup"), ("get", "/metrics")}

# Values of parameters that exist, for half of the requests.
KNOWN = {"model": "reviews", "version": "0", "identity": "run-1"}


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
    control: Control, document: dict[str, Any], schema_cases: int
) -> None:
    store = control.control.store
    control.control.promotion.sync_models(["reviews"])
    runs.add(
        store, id="run-1", model="reviews", trigger="test", state="paused", started=utc_now(), feedback_until=utc_now()
    )
    operations = operations_of(document, LEFT_OUT)
    key = {"Authorization": f"Bearer {control.keys.by_scope[Scope.ADMIN]}"}

    def ask(method: str, url: str, *, headers: dict[str, Any], **kept: Any) -> Any:
        return control.client.request(method, url, headers=dict(headers) | key, **kept)

    statuses = ask_all(operations, ask, cases=schema_cases, known=KNOWN)
    print(f"control: {sum(statuses.values())} requests, {dict(statuses)}")
    assert {200, 404, 422} <= statuses.keys() and len(operations) > 45
