"""Facts about keys: their revocation, their limits, and the routes that manage them."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from core.api_key_store import NewKey
from core.api_keys import Limits, Scope, read_key
from core.records import Version
from core.settings import build
from serve.engines.fake import FakeEngines
from tests.support.authorization import CONTROL, GATEWAY, INTERNAL_KEY, Control, KeyedGateway, Keys


def secret_of(key: str) -> str:
    parts = read_key(key)
    return parts[1] if parts else key


@pytest.fixture
def inside(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The gateway, with no key but the internal one in its environment."""
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", INTERNAL_KEY)
    return gateway


@pytest.fixture
def control(tmp_path: Path, inside: Any) -> Iterator[Control]:
    made = Control(tmp_path)
    # One event loop for all requests, as TestClient has it when it is entered; that would start the scheduler.
    with start_blocking_portal() as made.client.portal:
        yield made
    made.control.store.close()


@pytest.fixture
def keyed(inside: Any) -> Iterator[KeyedGateway]:
    made = KeyedGateway(inside)
    yield made
    inside.stack.close()
    made.stack.close()
    made.store.close()


def test_a_revoked_key_is_refused_by_the_gateway_well_within_a_second(keyed: KeyedGateway) -> None:
    made = keyed.ring.make(NewKey("app", (Scope.INFER,)), "test")
    keyed.gateway.until(lambda: keyed.ask(("GET", "/v1/models"), made.key).status_code == 200, 1)
    keyed.ring.revoke(made.id)
    keyed.gateway.until(lambda: keyed.ask(("GET", "/v1/models"), made.key).status_code == 401, 0.7)


def test_with_control_dead_a_restarted_gateway_still_has_its_keys(keyed: KeyedGateway, tmp_path: Path) -> None:
    made = keyed.ring.make(NewKey("app", (Scope.INFER,)), "test")
    keyed.settle()
    file = keyed.gateway.data / "gateways" / "gateway-1" / "routes.json"
    keyed.gateway.until(lambda: file.is_file() and made.id in file.read_text())
    kept = file.read_text()
    assert secret_of(made.key) not in kept
    keyed.gateway.stack.close()
    keyed.stack.close()
    again = type(keyed.gateway)(tmp_path / "again", keyed.gateway.engine, keyed.gateway.engine_url)
    with again.stack:
        again.open(access="keys", keys=keyed.ring.grants)
        answer = again.http.get("/v1/models", headers={"Authorization": f"Bearer {made.key}"})
        assert answer.status_code == 200 and again.http.get("/v1/models").status_code == 401


def test_a_key_is_shown_the_models_that_it_may_use(keyed: KeyedGateway) -> None:
    mine = keyed.ring.make(NewKey("app", (Scope.INFER,), ("reviews", "later")), "test")
    other = keyed.ring.make(NewKey("app", (Scope.INFER,), ("poems",)), "test")
    keyed.settle()
    shown = [keyed.ask(("GET", "/v1/models"), made.key).json()["data"] for made in (mine, other)]
    assert [[entry["id"] for entry in entries] for entries in shown] == [["reviews"], []]
    found = [keyed.ask(("GET", "/v1/models/reviews"), made.key).status_code for made in (mine, other)]
    assert found == [200, 404]


def test_the_actor_is_the_key_and_not_what_the_caller_says(control: Control) -> None:
    control.control.promotion.sync_models(["reviews"])
    admin = control.keys.by_scope[Scope.ADMIN]
    identity = (read_key(admin) or ("",))[0]
    control.ask(("POST", "/api/models/reviews/promote"), admin, json={"version": 1, "actor": "the board"})
    with control.control.store.transaction() as transaction:
        control.control.promotion.add_version(transaction, Version("reviews", 1, "base", None, None, 0, None))
    control.control.promotion.engines = FakeEngines("base")
    body = {"version": 1, "actor": "key:somebody", "comment": "now"}
    assert control.ask(("POST", "/api/models/reviews/promote"), admin, json=body).status_code == 200
    rows = control.ask(("GET", "/api/promotions"), admin).json()
    (promoted,) = [row for row in rows if row["verdict"] == "promoted"]
    assert promoted["actor"] == f"admin (key {identity})" and "somebody" not in promoted["reason"]
    shown = control.ask(("GET", f"/api/promotions/{promoted['id']}"), admin).json()
    assert shown["comment"] == "(on behalf of key:somebody) now"


def test_a_limit_is_429_with_when_to_come_again_and_what_is_left(keyed: KeyedGateway) -> None:
    wanted = NewKey("app", (Scope.INFER,), limits=Limits(requests_per_minute=2))
    made = keyed.ring.make(wanted, "test")
    keyed.settle()
    answers = [keyed.ask(("GET", "/v1/models"), made.key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert 28 <= int(answers[-1].headers["retry-after"]) <= 30
    assert answers[-1].headers["x-ratelimit-limit-requests"] == "2"
    assert answers[-1].json()["error"]["code"] == "limit_reached"


def test_no_part_of_a_key_is_in_an_answer_or_a_log(
    control: Control, keyed: KeyedGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for logger in ("uvicorn", "uvicorn.error", "core.http", "serve.routing.subscriber"):
        logging.getLogger(logger).setLevel(logging.DEBUG)
    keys = Keys.make(keyed.ring)
    keyed.settle()
    said = []
    for ask, mine, listed in ((control.ask, control.keys, CONTROL), (keyed.ask, keys, GATEWAY)):
        shown = [key for key in (*mine.by_scope.values(), *mine.dead.values()) if key]
        said += [ask(route, key).text for key in shown for route in [*listed][:6]]
    everything = caplog.text + "".join(said)
    assert "The API key is missing" in caplog.text
    for key in (*keys.by_scope.values(), *control.keys.by_scope.values(), keys.dead["expired"], keys.dead["revoked"]):
        assert key is not None and secret_of(key) not in everything


ODD = [
    b"",
    b"Bearer",
    b"Bearer ",
    b"Bearer \x00",
    b"Bearer \xff\xfe\x80",
    "Bearer \U0001f511".encode(),
    b"Bearer a\x01b",
    b"Bearer \t\t",
    b"Bearer llk_",
    b"Basic \xff",
    b"Bearer llk_" + b"\xff" * 1000,
    b"Bearer " + b"x" * 100_000,
]


def test_odd_bytes_in_a_header_are_refused_and_the_next_request_is_served(keyed: KeyedGateway) -> None:
    url = keyed.gateway.http.base_url
    for value in ODD:
        with socket.create_connection((url.host, url.port), 5) as raw:
            raw.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: " + value + b"\r\n\r\n")
            status = int(raw.recv(4096).split(b" ")[1])
        assert status in (400, 401, 431), value[:20]
        assert keyed.gateway.http.get("/health").status_code == 200


def test_keys_are_made_listed_rotated_and_revoked_over_the_api(control: Control) -> None:
    admin = control.keys.by_scope[Scope.ADMIN]
    control.control.promotion.sync_models(["reviews"])
    body = {"name": "shop", "scopes": ["infer", "infer"], "models": ["reviews"], "expires_in_s": 60, "concurrent": 2}
    made = control.ask(("POST", "/api/keys"), admin, json=body)
    assert made.status_code == 201 and made.headers["cache-control"] == "no-store"
    identity, key = made.json()["id"], made.json()["key"]
    row = next(row for row in control.ask(("GET", "/api/keys"), admin).json() if row["id"] == identity)
    assert (row["name"], row["scopes"], row["models"], row["concurrent"]) == ("shop", ["infer"], ["reviews"], 2)
    assert row["creator"] in admin and row["expires"]
    rotated = control.ask(("POST", f"/api/keys/{identity}/rotate"), admin, json={"grace_s": 5}).json()["key"]
    assert rotated != key
    for each in (key, rotated):  # right, but for another scope
        assert control.ask(("GET", "/api/models"), each).status_code == 403
    assert control.ask(("POST", f"/api/keys/{identity}/revoke"), admin).json()["revoked"]
    for each in (key, rotated):
        assert control.ask(("GET", "/api/models"), each).status_code == 401
    assert control.ask(("POST", f"/api/keys/{identity}/revoke"), admin).status_code == 409


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"scopes": ["infer"]}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": ["internal"]}, "scopes.0: 'internal' is not possible. Did you mean infer? Take"),
        ({"name": "x", "scopes": ["opsread"]}, "scopes.0: 'opsread' is not possible. Did you mean ops:read? Take"),
        ({"name": "x", "scopes": ["infer"], "models": ["poems"]}, "'poems'"),
        ({"name": "x", "scopes": ["infer"], "models": []}, "models"),
        ({"name": "x", "scopes": ["infer"], "expires_in_s": 0}, "expires_in_s"),
        ({"name": "x", "scopes": ["infer"], "concurrent": 0}, "concurrent"),
        ({"name": "x", "scopes": ["infer"], "key": "mine"}, "key"),
        ([], "The body: takes an object, and this is a list."),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_reason(control: Control, body: Any, words: str) -> None:
    before = len(control.control.keyring.all())
    answer = control.ask(("POST", "/api/keys"), control.keys.by_scope[Scope.ADMIN], json=body)
    assert answer.status_code in (404, 422) and words in answer.json()["error"]["message"], answer.text
    assert len(control.control.keyring.all()) == before


def test_a_key_may_be_limited_to_a_model_for_embeddings(control: Control) -> None:
    def made(model: str) -> int:
        asked = {"name": "app", "scopes": ["infer"], "models": [model]}
        return control.ask(("POST", "/api/keys"), control.keys.by_scope[Scope.ADMIN], json=asked).status_code

    assert made("bge-m3") == 404
    embeddings = {"embeddings": {"urls": ["http://127.0.0.1:9"], "model": "bge-m3"}}
    control.control.settings = build({"models": {"reviews": {"labels": ["a", "b"]}}, "gateway": embeddings})
    assert (made("bge-m3"), made("other")) == (201, 404)
