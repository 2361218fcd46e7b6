"""Facts about requests that another site made a browser send, to gateway and control."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.cross_site import LOOPBACK, is_cross_site, origin_headers, refused
from core.model_folder import ModelFolder
from core.settings import build
from ops.apps import control

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
]
OURS = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://127.0.0.1:8081"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://before.the.proxy"},
]
HOST = "127.0.0.1:8081"


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in ({"Host": HOST} | headers).items()]


@pytest.mark.parametrize("headers", FOREIGN)
def test_what_another_site_sends_is_foreign(headers: dict[str, str]) -> None:
    assert is_cross_site(origin_headers(raw(headers)))


@pytest.mark.parametrize("headers", OURS)
def test_our_own_pages_and_programs_are_not(headers: dict[str, str]) -> None:
    assert not is_cross_site(origin_headers(raw(headers)))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_may_come_from_anywhere(method: str) -> None:
    assert refused(method, raw({"Origin": "https://evil.example"}), None) is None


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1", True),
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("[::1]:8080", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("", False),
        ("[", False),
        ("é", False),
    ],
)
def test_without_keys_only_known_names_are_answered(host: str, known: bool) -> None:
    headers = [(b"host", host.encode())]
    for method in ("GET", "POST"):
        assert (refused(method, headers, frozenset(LOOPBACK)) is None) is known
        assert refused(method, headers, None) is None


class Control:
    """Control's real app, not started, on a name of its own choice."""

    def __init__(self, data: Path, **settings: Any) -> None:
        content = {"data": str(data), "models": {"reviews": {"labels": ["a", "b"]}}} | settings
        self.app = control.create_app(settings=build(content), base=ModelFolder("tiny", data))
        self.control: Any = self.app.state.control
        self.control.promotion.sync_models(["reviews"])

    def ask(self, method: str, path: str, headers: dict[str, str], name: str = HOST) -> httpx.Response:
        client = TestClient(self.app, base_url=f"http://{name}", raise_server_exceptions=False)
        return client.request(method, path, headers=headers, content=b'{"name": "mine", "scopes": ["admin"]}')


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path, access="open", hosts=["lora.lan"])
    yield made
    made.control.store.close()


@pytest.mark.parametrize("headers", FOREIGN)
def test_no_page_elsewhere_makes_a_key_of_an_open_control(opened: Control, headers: dict[str, str]) -> None:
    sent = headers | {"Content-Type": "text/plain"}  # what a page may send anywhere without asking
    answer = opened.ask("POST", "/api/keys", sent)
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "forbidden"
    assert not opened.control.keyring.all()


@pytest.mark.parametrize("headers", OURS)
def test_programs_and_our_own_pages_still_act_on_an_open_control(opened: Control, headers: dict[str, str]) -> None:
    assert opened.ask("POST", "/api/keys", headers).status_code == 201


def test_an_open_control_answers_to_its_own_names_and_to_no_name_pointed_at_it(opened: Control) -> None:
    for name, status in (("localhost:8081", 200), ("lora.lan", 200), ("evil.example", 403), ("testserver", 403)):
        assert opened.ask("GET", "/api/models", {}, name).status_code == status, name


def test_with_keys_any_name_and_a_key_from_any_page_is_answered(tmp_path: Path) -> None:
    made = Control(tmp_path)
    key = made.control.keyring.make(NewKey("app", (Scope.ADMIN,)), "test").key
    shown = {"Authorization": f"Bearer {key}", "Origin": "https://app.example"}
    assert made.ask("POST", "/api/keys", shown, "ops.example").status_code == 201
    assert made.ask("POST", "/api/keys", {"Origin": "https://app.example"}, "ops.example").status_code == 403
    made.control.store.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback", "/api/reload"])
def test_no_page_elsewhere_reaches_an_open_gateway(gateway: Any, path: str) -> None:
    http = gateway.open().http
    body = {"model": "reviews", "messages": [{"role": "user", "content": "hi"}]}
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert http.post(path, json=body, headers=headers).status_code == 403, headers
    assert gateway.spooled() == []


def test_a_name_pointed_at_an_open_gateway_reads_nothing(gateway: Any) -> None:
    http = gateway.open().http
    assert http.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
    assert http.get("/v1/models").status_code == 200


def test_a_browsers_app_asks_a_gateway_with_its_key_from_another_origin(gateway: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "s3cret")
    headers = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site", "Authorization": "Bearer s3cret"}
    http = gateway.open(access="keys").http
    body = {"model": "reviews", "messages": [{"role": "user", "content": "hi"}]}
    assert http.post("/v1/chat/completions", json=body, headers=headers | {"Host": "ai.example"}).status_code == 200
