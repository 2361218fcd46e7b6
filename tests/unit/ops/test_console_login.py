"""Facts about the console's log-in: keys, cookies, sessions and guesses."""

import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.errors import LimitReached
from ops.apps import http_server
from ops.console.login import FRONT, local
from ops.console.sessions import MOST_ADDRESSES, MOST_SESSIONS, Sessions
from tests.support.console_security import SECRET_PAGES, KeyedConsole, Moving


@pytest.mark.parametrize("path", SECRET_PAGES)
def test_a_visitor_without_a_session_sees_only_the_log_in(console: KeyedConsole, path: str) -> None:
    answer = console.browser.get(path)
    assert answer.status_code == 401 and "Log in" in answer.text and f'value="{path}"' in answer.text
    assert "reviews" not in answer.text.replace(f'value="{path}"', "")
    assert console.browser.get(f"{path}.json").json()["error"]["code"] == "key_refused"


def test_the_log_in_leads_to_the_requested_page_with_a_cookie_that_scripts_cannot_read(
    console: KeyedConsole,
) -> None:
    answer = console.log_in("reader", onward="/runs?model=reviews")
    cookie = answer.headers["set-cookie"]
    assert answer.headers["location"] == "/runs?model=reviews"
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert console.made["reader"].key not in cookie
    assert console.browser.get("/runs").status_code == 200


def test_over_tls_the_cookie_never_goes_out_in_the_clear(console: KeyedConsole) -> None:
    page = console.browser.get("/login").text
    found = re.search(r'name="token" value="(\w+)"', page)
    assert found
    fields = {"token": found[1], "key": console.made["reader"].key}
    answer = console.browser.post("/login", data=fields, headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["set-cookie"].startswith("__Host-") and "Secure" in answer.headers["set-cookie"]


def test_a_wrong_key_a_key_of_another_scope_and_no_form_of_ours_open_nothing(console: KeyedConsole) -> None:
    assert console.form("/login", key="llk_x_y").status_code == 401
    assert console.form("/login", key=console.made["app"].key).status_code == 403
    assert console.browser.post("/login", data={"key": console.made["reader"].key}).status_code == 403
    assert console.browser.get("/promotions").status_code == 401


def test_guessing_is_slowed_down_and_others_are_not(console: KeyedConsole) -> None:
    tried = [console.form("/login", key=f"guess {n}").status_code for n in range(12)]
    assert tried == [401] * 10 + [429] * 2
    assert console.form("/login", key=console.made["reader"].key).status_code == 429
    console.clock.now += timedelta(minutes=1)
    console.log_in("reader")


def test_guesses_from_everywhere_are_slowed_down_together_and_leave_nothing_behind() -> None:
    clock = Moving()
    sessions = Sessions(hours=1, clock=clock)
    for number in range(MOST_ADDRESSES + 10):
        sessions.failed(f"2001:db8::{number:x}")
    with pytest.raises(LimitReached):
        sessions.may_try("2001:db8::ffff:1")
    sessions.may_try("2001:db8::1")  # who failed once before has an account of their own
    clock.now += timedelta(minutes=2)
    sessions.may_try("2001:db8::ffff:1")
    sessions.failed("2001:db8::ffff:1")
    assert len(sessions._failures) == 1


def test_old_sessions_give_way_to_new_ones() -> None:
    sessions = Sessions(hours=1, clock=Moving())
    begun = [sessions.begin("key") for _ in range(MOST_SESSIONS + 1)]
    assert sessions.find(begun[0].name) is None and sessions.find(begun[-1].name) is begun[-1]
    assert sessions.find(None) is None and "key" not in repr(begun[-1])


def test_a_session_ends_by_time_by_logging_out_and_with_its_key(console: KeyedConsole) -> None:
    console.log_in("reader")
    console.clock.now += timedelta(hours=12, seconds=1)
    assert console.browser.get("/runs").status_code == 401
    console.log_in("reader")
    old = dict(console.browser.cookies)
    page = console.browser.get("/runs").text
    token = re.search(r'name="token" value="(\w+)"', page)
    assert token and console.browser.post("/logout", data={"token": token[1]}).status_code == 303
    console.browser.cookies.update(old)  # a thief's copy
    assert console.browser.get("/runs").status_code == 401
    console.browser.cookies.clear()
    console.log_in("reader")
    console.control.keyring.revoke(console.made["reader"].id)
    assert console.browser.get("/runs").status_code == 401


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "evil",
        "/%0d%0aSet-Cookie: a=b".replace("%0d%0a", "\r\n"),
        "http:evil.example",
        "",
        "/\t/evil.example",
        "/logout",
        "///evil",
        "//[",
        "http://[",
        "/" + "x" * 2048,
    ],
)
def test_the_log_in_leads_nowhere_else(console: KeyedConsole, onward: str) -> None:
    assert local(onward) == FRONT
    assert console.log_in("reader", onward=onward).headers["location"] == FRONT


def test_behind_a_trusted_proxy_one_visitors_wrong_keys_lock_nobody_else_out(
    console: KeyedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda app, **how: options.update(how, app=app))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    http_server.serve(console.browser.app, "127.0.0.1:0", ["10.0.0.0/24"])  # type: ignore[arg-type]
    assert options["proxy_headers"]
    behind = ProxyHeadersMiddleware(options["app"], options["forwarded_allow_ips"])

    def tries(proxy: str, visitor: str) -> int:
        console.browser = TestClient(behind, client=(proxy, 1), headers={"X-Forwarded-For": visitor})  # type: ignore[arg-type]
        return console.form("/login", key="wrong").status_code

    assert [tries("10.0.0.7", "1.1.1.1") for _ in range(11)][-1] == 429
    assert tries("10.0.0.7", "2.2.2.2") == 401
    assert tries("10.0.0.7", "1.1.1.1") == 429
    assert [tries("9.9.9.9", f"3.3.3.{n}") for n in range(11)][-1] == 429  # whom nobody trusts is believed nothing
