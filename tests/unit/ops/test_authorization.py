"""Facts about every route of gateway and control: the scope that it needs, and that no other key gets in.

Every route of an app must be in the lists here; those of the raw data plane are requested by name.
"""

import base64
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI

from core.api_key_store import NewKey
from core.api_keys import GRANTABLE, Scope
from core.clock import utc_now
from core.db import runs
from tests.support.authorization import CONTROL, GATEWAY, INTERNAL_KEY, NUMBERS, Ask, Control, KeyedGateway, Keys

# The log-in has its own tests: test_console_login.py and test_oidc_login.py.
OPEN = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/login/oidc"),
    ("GET", "/login/oidc/callback"),
    ("GET", "/static/{digest}/{name}"),
}


def message_of(answer: httpx.Response) -> str:
    """The message of an error, in OpenAI's shape or in that of another tool."""
    body = answer.json()
    error = body.get("error")
    return str(error["message"] if isinstance(error, dict) else body.get("message") or body.get("detail") or error)


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
    """No route answers without a right key; each lets a request with one through."""
    for route, wanted in listed.items():
        for kind, key in keys.dead.items():
            answer = ask(route, key)
            assert answer.status_code == 401, (route, kind)
        for scope, key in keys.by_scope.items():
            right = scope in wanted or (scope is Scope.ADMIN and wanted != {Scope.INTERNAL})
            answer = ask(route, key)
            # With the right key, a form that no page of ours made is refused anyway.
            let_in = answer.status_code not in (401, 403) or "takes a form" in answer.text
            assert let_in is right, (route, scope, answer.status_code)
            if not right:
                assert answer.status_code == 403
                assert any(name in message_of(answer) for name in wanted), answer.text


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


def test_every_route_of_control_is_in_the_list_and_opens_to_its_scope_alone(control: Control) -> None:
    assert unlisted(control.app, CONTROL) == set()
    walk(control.ask, CONTROL, control.keys)


# About no model's data, or only about the models of the key.
FOR_ANY_KEY = {("GET", "/openapi.json"), ("GET", "/api/models"), ("GET", "/api/usage")}


def test_a_key_limited_to_a_model_opens_no_route_about_another_or_about_all(control: Control) -> None:
    key = control.control.keyring.make(NewKey("limited", GRANTABLE, models=("reviews",)), "test").key
    for route, wanted in CONTROL.items():
        if wanted != {Scope.INTERNAL} and route not in FOR_ANY_KEY:
            answer = control.ask(route, key)
            assert answer.status_code == 403, (route, answer.status_code, answer.text)
    for path in ("/api/keys", "/api/erasures", "/api/dead-letters", "/api/retention", "/system.json", "/"):
        assert control.ask(("GET", f"{path}?model=reviews"), key).status_code == 403, path  # no parameter of theirs


def test_a_key_limited_to_a_model_lists_this_model_alone(tmp_path: Path) -> None:
    control = Control(tmp_path, ("reviews", "tweets"))
    control.control.promotion.sync_models(["reviews", "tweets"])
    key = control.control.keyring.make(NewKey("limited", GRANTABLE, models=("reviews",)), "test").key
    assert [row["model"] for row in control.ask(("GET", "/api/models"), key).json()] == ["reviews"]
    assert control.ask(("GET", "/api/models?model=tweets"), key).status_code == 403
    every = control.ask(("GET", "/api/models"), control.keys.by_scope[Scope.OPS_NUMBERS]).json()
    assert [row["model"] for row in every] == ["reviews", "tweets"]


def test_pages_for_a_key_limited_to_a_model_name_no_other_model(tmp_path: Path) -> None:
    control = Control(tmp_path, ("reviews", "tweets"))
    control.control.promotion.sync_models(["reviews", "tweets"])
    key = control.control.keyring.make(NewKey("limited", GRANTABLE, models=("reviews",)), "test").key
    for path in (
        "/overview",
        "/overview.json",
        "/promotions",
        "/promotions.json",
        "/feedback",
        "/quarantine",
        "/runs",
        "/feedback/queue",
        "/requests",
        "/usage",
    ):
        answer = control.ask(("GET", f"{path}?model=reviews"), key)
        assert answer.status_code == 200, (path, answer.text)
        assert "reviews" in answer.text and "tweets" not in answer.text, path


def test_a_key_limited_to_a_model_opens_what_is_about_this_model_alone(control: Control) -> None:
    key = control.control.keyring.make(NewKey("limited", GRANTABLE, models=("reviews",)), "test").key
    for model, identity in (("reviews", "run-1"), ("tweets", "run-2")):
        runs.add(
            control.control.store,
            id=identity,
            model=model,
            trigger="t",
            state="done",
            started=utc_now(),
            feedback_until=utc_now(),
        )
    allowed = (
        "/api/promotions?model=reviews",
        "/api/export/feedback?model=reviews",
        "/runs.json?model=reviews",
        "/api/runs/run-1",
        "/runs/run-1.json",
    )
    for path in allowed:
        assert control.ask(("GET", path), key).status_code == 200, path
    for path in allowed:
        other = path.replace("reviews", "tweets").replace("run-1", "run-2")
        assert "reviews" not in control.ask(("GET", other), key).text, other
        assert control.ask(("GET", other), key).status_code == 403, other


def test_every_route_of_the_gateway_is_in_the_list_and_opens_to_its_scope_alone(keyed: KeyedGateway) -> None:
    keys = Keys.make(keyed.ring)
    keyed.settle()
    assert unlisted(keyed.gateway.app, GATEWAY) == set()
    assert {("POST", path) for path in keyed.gateway.app.direct} <= set(GATEWAY)
    walk(keyed.ask, GATEWAY, keys)


def test_what_is_open_says_yes_or_no_and_tells_more_to_readers(control: Control, keyed: KeyedGateway) -> None:
    keys = Keys.make(keyed.ring)
    keyed.settle()
    for ask, mine, more in ((control.ask, control.keys, {"engines"}), (keyed.ask, keys, {"unshipped_bytes"})):
        for key in (None, *mine.dead.values(), mine.by_scope[Scope.INFER], mine.by_scope[Scope.METRICS]):
            assert ask(("GET", "/health"), key).json() == {"status": "ok"}
            assert list(ask(("GET", "/ready"), key).json()) == ["ready"]
        for scope in (*NUMBERS, Scope.ADMIN, Scope.INTERNAL):
            assert more <= set(ask(("GET", "/ready"), mine.by_scope[scope]).json())


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_app_has_the_pages_of_its_framework(control: Control, path: str) -> None:
    assert control.ask(("GET", path), control.keys.by_scope[Scope.ADMIN]).status_code == 404


def test_no_body_is_read_before_the_key(control: Control, keyed: KeyedGateway) -> None:
    for route in CONTROL:
        if route[0] == "POST":
            assert control.ask(route, None, json=None, content=b"{").status_code == 401
    for route in GATEWAY:
        if route[0] == "POST":
            assert keyed.ask(route, None, json=None, content=b"{").status_code == 401


def test_no_route_accepts_a_browsers_password(control: Control) -> None:
    pair = base64.b64encode(f"me:{control.keys.by_scope[Scope.ADMIN]}".encode()).decode()
    for route in CONTROL:
        answer = control.ask(route, None, headers={"Authorization": f"Basic {pair}"})
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", route


@pytest.mark.parametrize(
    "scopes", [(Scope.OPS_NUMBERS,), (Scope.OPS_READ,), GRANTABLE], ids=["numbers", "read", "admin"]
)
def test_the_navigation_links_to_pages_that_the_visitor_may_open(control: Control, scopes: tuple[Scope, ...]) -> None:
    key = control.control.keyring.make(NewKey("visitor", scopes), "test").key
    control.control.promotion.sync_models(["reviews"])
    seen: set[str] = set()
    for page in ("/overview", "/promotions", "/runs", "/system", "/usage"):
        answer = control.ask(("GET", page), key)
        assert answer.status_code == 200, page
        (navigation,) = re.findall(r'<nav aria-label="Pages">.*?</nav>', answer.text, re.DOTALL)
        links = set(re.findall(r'href="(/[^"]*)"', navigation if page != "/usage" else answer.text))
        seen |= {link for link in links if not link.startswith("/static")}
    assert {"/overview", "/runs"} <= seen
    assert ("/feedback" in seen) == (Scope.OPS_NUMBERS not in scopes or Scope.ADMIN in scopes)
    for link in seen:
        assert control.ask(("GET", html.unescape(link)), key).status_code == 200, link
