"""Facts about control's OpenAPI document, and what requests made from it get: never an error of the server."""

import re
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

# Pydantic's own sentences.
PYDANTIC = re.compile(
    r"Input should|should have|[Ee]xtra inputs|Field required|valid (string|integer|list|dict)|Value error"
)

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

    named: set[str] = set()

    def ask(method: str, url: str, *, headers: dict[str, Any], **kept: Any) -> Any:
        answer = control.client.request(method, url, headers=dict(headers) | key, **kept)
        if answer.status_code == 422:
            error = answer.json()["error"]
            assert not PYDANTIC.search(error["message"]), (method, url, kept, error)
            named.add(error["param"] or "")
        return answer

    statuses = ask_all(operations, ask, cases=schema_cases, known=KNOWN)
    print(f"control: {sum(statuses.values())} requests, {dict(statuses)}")
    assert {200, 404, 422} <= statuses.keys() and len(operations) > 45
    assert {"limit", "comment"} <= named


@pytest.mark.parametrize(
    ("method", "path", "body", "param", "message"),
    [
        (
            "GET",
            "/api/promotions?since=yesterday",
            None,
            "since",
            "since: 'yesterday' is not a day or a time, such as 2026-03-01 or 2026-03-01T12:00:00Z.",
        ),
        (
            "GET",
            "/api/promotions?verdict=promotd",
            None,
            "verdict",
            "verdict: 'promotd' is not possible. Did you mean promoted? Take one of: promoted, kept,",
        ),
        ("GET", "/api/runs?limit=0", None, "limit", "limit: '0' is not at least 1. Give a number at least 1."),
        ("GET", "/api/models/reviews/versions/one", None, "version", "version: 'one' is not a whole number."),
        (
            "POST",
            "/api/models/reviews/promote",
            {"versoin": 1},
            "version",
            "version: is missing. Add it. Also wrong: versoin.",
        ),
        (
            "POST",
            "/api/models/reviews/rollback",
            {"too": 1},
            "too",
            "too: there is no such field. Did you mean to? Take one of: actor, comment, to, keep_data.",
        ),
        (
            "POST",
            "/api/promotions/12/reject",
            {"comment": ""},
            "comment",
            "comment: takes at least 1 characters, and this has 0.",
        ),
        (
            "POST",
            "/api/models/reviews/canary/share",
            {"share": 1},
            "share",
            "share: 1 is not at most 0.5. Give a number at most 0.5.",
        ),
        ("POST", "/api/models/reviews/freeze", [], None, "The body: takes an object, and this is a list."),
        (
            "POST",
            "/api/models/reviews/freeze",
            {"comment": {}},
            "comment",
            "comment: takes text, and this is an object.",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_field_and_the_fix(
    control: Control, method: str, path: str, body: Any, param: str | None, message: str
) -> None:
    control.control.promotion.sync_models(["reviews"])
    answer = control.ask((method, path), control.keys.by_scope[Scope.ADMIN], **({} if body is None else {"json": body}))
    error = answer.json()["error"]
    assert answer.status_code == 422 and error["code"] == "input_error"
    assert error["message"].startswith(message) and error["param"] == param


def test_a_text_that_can_be_a_users_is_not_repeated(control: Control, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        answer = control.ask(("POST", "/api/erasures"), control.keys.by_scope[Scope.ADMIN], json={"user": "ada" * 900})
    assert answer.status_code == 422 and "and this has 2700" in answer.text
    assert "adaada" not in answer.text and "adaada" not in caplog.text
