"""Facts about requests made from the gateway's OpenAPI document: none meets an error of the server."""

from collections.abc import Iterator
from typing import Any

import pytest

from core.api_keys import Scope
from serve.engines.fake import FakeEngine, running
from serve.gateway.purposes import PURPOSES
from tests.support.responses_world import World
from tests.support.schema_cases import ask_all, operations_of


class TolerantEngine(FakeEngine):
    """A fake that refuses what it cannot read, as vLLM does."""

    def reply(self, path: str, body: dict[str, Any], request_id: str) -> tuple[int, bytes | list[bytes]]:
        """(status, the body or the events of a stream) for a request."""
        self.requests.clear()
        try:
            return super().reply(path, body, request_id)
        except (LookupError, TypeError, ValueError, AttributeError):
            return 400, b'{"error": {"message": "unreadable", "type": "fake", "param": null, "code": 400}}'


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeEngine, str]]:
    """The engine of the `gateway` fixture."""
    engine = TolerantEngine()
    with running(engine.app()) as url:
        yield engine, url


@pytest.fixture
def world(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "internal-s3cret")
    other = TolerantEngine("pooling", pools=tuple(path for purpose in PURPOSES for path in purpose.paths))
    with running(other.app()) as url:
        made = World(gateway, **{purpose.name: {"urls": [url], "model": "pooling"} for purpose in PURPOSES})
        yield made
        made.close()


def with_a_model(body: Any) -> Any:
    """Without this nearly every request would end at 404 and reach no engine."""
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        pools = "documents" in body or ("input" in body and "dimensions" in body)
        return body | {"model": "pooling" if pools else "reviews"}
    return body


def test_no_request_made_from_the_document_meets_an_error_of_the_server(world: World, schema_cases: int) -> None:
    client = world.client(Scope.INFER, Scope.FEEDBACK)
    http, key = world.gateway.http, {"Authorization": f"Bearer {client.api_key}"}
    operations = operations_of(http.get("/openapi.json", headers=key).json())

    def ask(method: str, url: str, *, headers: dict[str, Any], **kept: Any) -> Any:
        return http.request(method, url, headers=dict(headers) | key, **kept)

    statuses = ask_all(operations, ask, cases=schema_cases, change=with_a_model, known={"model": "reviews"})
    print(f"gateway: {sum(statuses.values())} requests, {dict(statuses)}")
    assert {200, 202, 400, 404, 422} <= statuses.keys() and 503 not in statuses
    assert len(operations) > 24
