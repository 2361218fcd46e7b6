"""Facts about every door of gateway and control: what it wants, and that nothing opens it otherwise.

Every route of an app must stand in the lists here; those of the raw data plane are asked by name, whoever serves them.
"""

import base64
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.api_key_store import ApiKeyStore, NewKey
from core.api_keys import GRANTABLE, Limits, Scope, read_key
from core.clock import utc_now
from core.db.store import Store
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import build
from ops.apps import control as control_app
from serve.engines.fake import FakeEngines, running
from serve.routing import publisher
from serve.routing.publisher import RoutePublisher

INTERNAL_KEY = "internal-s3cret"
# The log-in has doors of its own: test_console_strangers.py.
OPEN = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/static/{digest}/{name}"),
}
GATEWAY = {
    ("POST", "/v1/chat/completions"): {Scope.INFER},
    ("POST", "/v1/completions"): {Scope.INFER},
    ("GET", "/v1/models"): {Scope.INFER},
    ("GET", "/v1/models/{model}"): {Scope.INFER},
    ("GET", "/openapi.json"): {Scope.INFER},
    ("POST", "/v1/feedback"): {Scope.FEEDBACK},
    ("DELETE", "/v1/feedback/{feedback_id}"): {Scope.FEEDBACK, Scope.OPS_WRITE},
    ("GET", "/v1/chat/completions"): {Scope.INFER, Scope.OPS_READ},
    ("GET", "/v1/chat/completions/{completion_id}"): {Scope.INFER, Scope.OPS_READ},
    ("GET", "/v1/chat/completions/{completion_id}/messages"): {Scope.INFER, Scope.OPS_READ},
    ("POST", "/v1/chat/completions/{completion_id}"): {Scope.INFER, Scope.OPS_WRITE},
    ("DELETE", "/v1/chat/completions/{completion_id}"): {Scope.INFER, Scope.OPS_WRITE},
    ("POST", "/api/reload"): {Scope.OPS_WRITE},
    ("GET", "/metrics"): {Scope.OPS_READ, Scope.INTERNAL},
}
READ = (
    "/promotions",
    "/promotions/{identity}",
    "/models/{model}",
    "/feedback",
    "/feedback/queue",
    "/feedback/{identity}",
    "/quarantine",
    "/quarantine/{identity}",
    "/runs",
    "/runs/{identity}",
    "/system",
)
ACTIONS = (
    "/models/{model}/rollback",
    "/models/{model}/retrain",
    "/promotions/{identity}/approve",
    "/promotions/{identity}/reject",
    "/quarantine/{identity}/{verb}",
)
PAGES = (
    {("GET", path): {Scope.OPS_READ} for path in ("/", *READ, *(f"{path}.json" for path in READ))}
    | {("POST", "/logout"): {Scope.OPS_READ}, ("POST", "/feedback/queue"): {Scope.OPS_WRITE}}
    | {(method, path): {Scope.OPS_WRITE} for path in ACTIONS for method in ("GET", "POST")}
)
CONTROL = PAGES | {
    ("POST", "/internal/routes"): {Scope.INTERNAL},
    ("POST", "/internal/spool/{spool}/{segment}"): {Scope.INTERNAL},
    ("GET", "/internal/retrievals/{sha256}"): {Scope.INTERNAL},
    ("POST", "/internal/completions/get"): {Scope.INTERNAL},
    ("POST", "/internal/completions/page"): {Scope.INTERNAL},
    ("POST", "/internal/completions/messages"): {Scope.INTERNAL},
    ("POST", "/internal/completions/change"): {Scope.INTERNAL},
    ("POST", "/internal/completions/delete"): {Scope.INTERNAL},
    ("GET", "/api/keys"): {Scope.ADMIN},
    ("POST", "/api/keys"): {Scope.ADMIN},
    ("POST", "/api/keys/{identity}/rotate"): {Scope.ADMIN},
    ("POST", "/api/keys/{identity}/revoke"): {Scope.ADMIN},
    ("POST", "/api/backup"): {Scope.ADMIN},
    ("GET", "/api/export/{kind}"): {Scope.ADMIN},
    ("POST", "/api/feedback/import"): {Scope.OPS_WRITE},
    ("GET", "/api/notifications"): {Scope.OPS_READ},
    ("POST", "/api/notifications/test"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/adapters"): {Scope.OPS_WRITE},
    ("GET", "/api/models"): {Scope.OPS_READ},
    ("GET", "/api/models/{model}/versions"): {Scope.OPS_READ},
    ("GET", "/api/models/{model}/routes"): {Scope.OPS_READ},
    ("GET", "/api/promotions"): {Scope.OPS_READ},
    ("GET", "/api/promotions/{identity}"): {Scope.OPS_READ},
    ("GET", "/api/runs"): {Scope.OPS_READ},
    ("GET", "/api/runs/{identity}"): {Scope.OPS_READ},
    ("GET", "/api/feedback"): {Scope.OPS_READ},
    ("GET", "/api/quarantine"): {Scope.OPS_READ},
    ("GET", "/api/quarantine/{identity}"): {Scope.OPS_READ},
    ("POST", "/api/quarantine"): {Scope.OPS_WRITE},
    ("POST", "/api/quarantine/{identity}/release"): {Scope.OPS_WRITE},
    ("POST", "/api/quarantine/{identity}/reject"): {Scope.OPS_WRITE},
    ("GET", "/api/ledger"): {Scope.OPS_READ},
    ("POST", "/api/models/{model}/retrain"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/evaluate"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/rollback"): {Scope.OPS_WRITE},
    ("POST", "/api/models/{model}/promote"): {Scope.OPS_WRITE},
    ("POST", "/api/promotions/{identity}/approve"): {Scope.OPS_WRITE},
    ("POST", "/api/promotions/{identity}/reject"): {Scope.OPS_WRITE},
    ("POST", "/api/reload"): {Scope.OPS_WRITE},
    ("GET", "/metrics"): {Scope.OPS_READ, Scope.INTERNAL},
}


@dataclass
class Keys:
    """A key of every scope, and one of every kind that opens nothing."""

    by_scope: dict[Scope, str] = field(default_factory=dict)
    dead: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def make(cls, ring: ApiKeyStore) -> "Keys":
        made = {scope: ring.make(NewKey(scope, (scope,)), "test").key for scope in GRANTABLE}
        expired = ring.make(NewKey("expired", GRANTABLE, lifetime=timedelta(microseconds=1)), "test")
        revoked = ring.make(NewKey("revoked", GRANTABLE), "test")
        ring.revoke(revoked.id)
        rotated = ring.make(NewKey("rotated", GRANTABLE), "test")
        ring.rotate(rotated.id, timedelta())
        wrong = made[Scope.ADMIN][:-1] + ("a" if made[Scope.ADMIN][-1] != "a" else "b")
        dead = {
            "no": None,
            "wrong": wrong,
            "expired": expired.key,
            "revoked": revoked.key,
            "rotated": rotated.key,
            "odd": "\xffé",
            "long": "x" * 100_000,
        }
        return cls(made | {Scope.INTERNAL: INTERNAL_KEY}, dead)


Ask = Callable[..., httpx.Response]


def asked(client: httpx.Client) -> Ask:
    """Asks a route with a key."""

    def ask(route: tuple[str, str], key: str | None, **how: Any) -> httpx.Response:
        method, path = route
        for name in ("feedback_id", "completion_id", "identity", "model", "spool"):
            path = path.replace(f"{{{name}}}", "x")
        path = path.replace("{segment}", "1?offset=0")
        headers = {} if key is None else {"Authorization": f"Bearer {key}".encode("latin-1")}
        body: dict[str, Any] = {} if method == "GET" else {"json": {}}
        return client.request(method, path, **(body | {"headers": headers, "follow_redirects": False} | how))

    return ask


def secret_of(key: str) -> str:
    parts = read_key(key)
    return parts[1] if parts else key


def unlisted(app: FastAPI, listed: dict[tuple[str, str], set[Scope]]) -> set[tuple[str, str]]:
    paths = {path for _, path in listed}
    found: set[tuple[str, str]] = set()
    for route in app.routes:
        path, methods = getattr(route, "path", "?"), getattr(route, "methods", None)
        if methods is None:  # a mount, or a raw app
            found |= {("ANY", path)} if path not in paths else set()
        else:
            found |= {(method, path) for method in methods}
    return found - set(listed) - OPEN


def walk(ask: Ask, listed: dict[tuple[str, str], set[Scope]], keys: Keys) -> None:
    """No route answers without a right key; each answers, in whatever way, with one."""
    for route, wanted in listed.items():
        for kind, key in keys.dead.items():
            answer = ask(route, key)
            assert answer.status_code == 401, (route, kind)
        for scope, key in keys.by_scope.items():
            right = scope in wanted or (scope is Scope.ADMIN and wanted != {Scope.INTERNAL})
            answer = ask(route, key)
            # With the right key, a form that no page of ours made is refused all the same.
            let_in = answer.status_code not in (401, 403) or "takes a form" in answer.text
            assert let_in is right, (route, scope, answer.status_code)
            if not right:
                assert answer.status_code == 403
                assert any(name in answer.json()["error"]["message"] for name in wanted), answer.text


@pytest.fixture
def inside(house: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The house, whose environment holds no key but the inside one."""
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", INTERNAL_KEY)
    return house


class Control:
    """Control's real app, not yet started: its doors need no scheduler."""

    def __init__(self, data: Path) -> None:
        settings = build({"data": str(data), "models": {"reviews": {"labels": ["a", "b"]}}})
        self.app = control_app.create_app(settings=settings, base=ModelFolder("tiny", data))
        self.control: Any = self.app.state.control
        self.keys = Keys.make(self.control.keyring)
        self.client = TestClient(self.app, raise_server_exceptions=False)
        self.ask = asked(self.client)


@pytest.fixture
def control(tmp_path: Path, inside: Any) -> Iterator[Control]:
    made = Control(tmp_path)
    # One event loop for all requests, as TestClient has it when it is entered; that would start the scheduler.
    with start_blocking_portal() as made.client.portal:
        yield made
    made.control.store.close()


class Gateway:
    """A gateway on a port, and the keyring whose grants reach it by the long poll."""

    def __init__(self, house: Any) -> None:
        self.store, self.board, self.stack = Store(":memory:"), RoutePublisher(), ExitStack()
        self.ring = ApiKeyStore(store=self.store, clock=utc_now, changed=self.board.publish_keys)
        self.board.publish(house.table(house.engine_url))
        app = FastAPI()
        app.include_router(publisher.create_router(self.board))
        url = self.stack.enter_context(running(app))
        self.house = house.open(control=url, cached=False, access="keys")
        self.ask = asked(house.http)

    def settle(self) -> None:
        """Waits until the gateway has every key."""
        self.house.until(lambda: self.house.app.state.tables.keys == self.ring.grants, 5)


@pytest.fixture
def gateway(inside: Any) -> Iterator[Gateway]:
    made = Gateway(inside)
    yield made
    inside.stack.close()
    made.stack.close()
    made.store.close()


def test_every_route_of_control_stands_in_the_list_and_opens_to_its_scope_alone(control: Control) -> None:
    assert unlisted(control.app, CONTROL) == set()
    walk(control.ask, CONTROL, control.keys)


def test_every_route_of_the_gateway_stands_in_the_list_and_opens_to_its_scope_alone(gateway: Gateway) -> None:
    keys = Keys.make(gateway.ring)
    gateway.settle()
    assert unlisted(gateway.house.app, GATEWAY) == set()
    walk(gateway.ask, GATEWAY, keys)


def test_what_is_open_says_yes_or_no_and_tells_more_to_readers(control: Control, gateway: Gateway) -> None:
    keys = Keys.make(gateway.ring)
    gateway.settle()
    for ask, mine, more in ((control.ask, control.keys, {"engines"}), (gateway.ask, keys, {"unshipped_bytes"})):
        for key in (None, *mine.dead.values(), mine.by_scope[Scope.INFER], mine.by_scope[Scope.OPS_WRITE]):
            assert ask(("GET", "/health"), key).json() == {"status": "ok"}
            assert list(ask(("GET", "/ready"), key).json()) == ["ready"]
        for scope in (Scope.OPS_READ, Scope.ADMIN, Scope.INTERNAL):
            assert more <= set(ask(("GET", "/ready"), mine.by_scope[scope]).json())


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc"])
def test_no_app_describes_itself(control: Control, path: str) -> None:
    assert control.ask(("GET", path), control.keys.by_scope[Scope.ADMIN]).status_code == 404


def test_nothing_of_a_body_is_looked_at_before_the_key(control: Control, gateway: Gateway) -> None:
    for route in CONTROL:
        if route[0] == "POST":
            assert control.ask(route, None, json=None, content=b"{").status_code == 401
    for route in GATEWAY:
        if route[0] == "POST":
            assert gateway.ask(route, None, json=None, content=b"{").status_code == 401


def test_no_door_opens_to_a_browsers_password(control: Control) -> None:
    pair = base64.b64encode(f"me:{control.keys.by_scope[Scope.ADMIN]}".encode()).decode()
    for route in CONTROL:
        answer = control.ask(route, None, headers={"Authorization": f"Basic {pair}"})
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", route


def test_a_revoked_key_is_refused_by_the_gateway_well_within_a_second(gateway: Gateway) -> None:
    made = gateway.ring.make(NewKey("app", (Scope.INFER,)), "test")
    gateway.house.until(lambda: gateway.ask(("GET", "/v1/models"), made.key).status_code == 200, 1)
    gateway.ring.revoke(made.id)
    gateway.house.until(lambda: gateway.ask(("GET", "/v1/models"), made.key).status_code == 401, 0.7)


def test_with_control_dead_a_restarted_gateway_still_knows_its_keys(gateway: Gateway, tmp_path: Path) -> None:
    made = gateway.ring.make(NewKey("app", (Scope.INFER,)), "test")
    gateway.settle()
    file = gateway.house.data / "gateways" / "gateway-1" / "routes.json"
    gateway.house.until(lambda: file.is_file() and made.id in file.read_text())
    kept = file.read_text()
    assert secret_of(made.key) not in kept
    gateway.house.stack.close()
    gateway.stack.close()
    again = type(gateway.house)(tmp_path / "again", gateway.house.engine, gateway.house.engine_url)
    with again.stack:
        again.open(access="keys", keys=gateway.ring.grants)
        answer = again.http.get("/v1/models", headers={"Authorization": f"Bearer {made.key}"})
        assert answer.status_code == 200 and again.http.get("/v1/models").status_code == 401


def test_a_key_is_shown_the_models_that_it_may_use(gateway: Gateway) -> None:
    mine = gateway.ring.make(NewKey("app", (Scope.INFER,), ("reviews", "later")), "test")
    other = gateway.ring.make(NewKey("app", (Scope.INFER,), ("poems",)), "test")
    gateway.settle()
    shown = [gateway.ask(("GET", "/v1/models"), made.key).json()["data"] for made in (mine, other)]
    assert [[entry["id"] for entry in entries] for entries in shown] == [["reviews"], []]
    found = [gateway.ask(("GET", "/v1/models/reviews"), made.key).status_code for made in (mine, other)]
    assert found == [200, 404]


def test_who_acts_is_the_key_whatever_the_caller_says(control: Control) -> None:
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


def test_a_limit_is_429_with_when_to_come_again_and_what_is_left(gateway: Gateway) -> None:
    wanted = NewKey("app", (Scope.INFER,), limits=Limits(requests_per_minute=2))
    made = gateway.ring.make(wanted, "test")
    gateway.settle()
    told = [gateway.ask(("GET", "/v1/models"), made.key) for _ in range(3)]
    assert [answer.status_code for answer in told] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in told] == ["1", "0", "0"]
    assert 28 <= int(told[-1].headers["retry-after"]) <= 30
    assert told[-1].headers["x-ratelimit-limit-requests"] == "2"
    assert told[-1].json()["error"]["code"] == "limit_reached"


def test_nothing_of_a_key_stands_in_an_answer_or_a_log(
    control: Control, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for logger in ("uvicorn", "uvicorn.error", "core.http", "serve.routing.subscriber"):
        logging.getLogger(logger).setLevel(logging.DEBUG)
    keys = Keys.make(gateway.ring)
    gateway.settle()
    said = []
    for ask, mine, listed in ((control.ask, control.keys, CONTROL), (gateway.ask, keys, GATEWAY)):
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


def test_odd_bytes_in_a_header_are_refused_and_the_next_request_is_served(gateway: Gateway) -> None:
    url = gateway.house.http.base_url
    for value in ODD:
        with socket.create_connection((url.host, url.port), 5) as raw:
            raw.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: " + value + b"\r\n\r\n")
            status = int(raw.recv(4096).split(b" ")[1])
        assert status in (400, 401, 431), value[:20]
        assert gateway.house.http.get("/health").status_code == 200


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
    assert control.ask(("POST", f"/api/keys/{identity}/revoke"), admin).json() == {"id": identity, "revoked": True}
    for each in (key, rotated):
        assert control.ask(("GET", "/api/models"), each).status_code == 401
    assert control.ask(("POST", f"/api/keys/{identity}/revoke"), admin).status_code == 409


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"scopes": ["infer"]}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": ["internal"]}, "one or more of: infer"),
        ({"name": "x", "scopes": ["all"]}, "scopes.0"),
        ({"name": "x", "scopes": ["infer"], "models": ["poems"]}, "'poems'"),
        ({"name": "x", "scopes": ["infer"], "models": []}, "models"),
        ({"name": "x", "scopes": ["infer"], "expires_in_s": 0}, "expires_in_s"),
        ({"name": "x", "scopes": ["infer"], "concurrent": 0}, "concurrent"),
        ({"name": "x", "scopes": ["infer"], "key": "mine"}, "key"),
        ([], "dictionary"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_reason(control: Control, body: Any, words: str) -> None:
    before = len(control.control.keyring.all())
    answer = control.ask(("POST", "/api/keys"), control.keys.by_scope[Scope.ADMIN], json=body)
    assert answer.status_code in (404, 422) and words in answer.json()["error"]["message"], answer.text
    assert len(control.control.keyring.all()) == before
