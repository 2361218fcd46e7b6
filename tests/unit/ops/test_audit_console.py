"""Facts about the audit log of the console: log-ins, its page; and the command that lists rows."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.db import audit_log as table
from core.db.audit_log import Filter
from core.db.store import Transaction
from ops.apps.http_server import serve
from serve.engines.fake import running
from tests.support.console_security import KeyedConsole
from tests.support.running_control import RunningControl


def test_log_ins_cost_no_transaction_of_their_own(console: KeyedConsole, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    run = Transaction.run_set
    monkeypatch.setattr(Transaction, "run_set", lambda self, name, rows: written.append(name) or run(self, name, rows))
    for _ in range(3):
        console.log_in("actor")
    assert written == []
    console.control.audit.flush(all_of_them=True)
    (row,) = table.page(console.control.store, Filter(act="login"), limit=10)
    assert (row["n"], row["actor"].split(" ")[0]) == (3, "actor") and written == ["audit_log.append"]


def test_log_ins_and_log_outs_have_rows_with_the_address_that_a_trusted_proxy_names(console: KeyedConsole) -> None:
    console.browser.app = ProxyHeadersMiddleware(console.browser.app, trusted_hosts=["testclient"])  # type: ignore
    console.browser._transport.app = console.browser.app  # type: ignore[attr-defined]
    console.browser.headers["x-forwarded-for"] = "203.0.113.7"
    for n in range(3):
        console.form("/login", key=f"guess {n}")
    console.log_in("actor")
    console.form("/promotions", key="")  # the form on the page is the one to log out; it goes to another path
    token = re.search(r'name="token" value="(\w+)"', console.browser.get("/promotions").text)
    assert token and console.browser.post("/logout", data={"token": token[1]}).status_code == 303
    console.control.audit.flush(all_of_them=True)
    rows = table.page(console.control.store, Filter(), limit=100)[::-1]
    found = [(row["act"], row["outcome"], row["n"], row["actor"].split(" ")[0]) for row in rows if "log" in row["act"]]
    assert sorted(found) == [("login", "ok", 1, "actor"), ("login", "refused", 3, ""), ("logout", "ok", 1, "actor")]
    assert {row["address"] for row in rows} == {"203.0.113.7"}
    assert "guess" not in json.dumps(rows, default=str)


def test_a_valid_key_that_the_console_refuses_has_a_row_under_its_name(console: KeyedConsole) -> None:
    key = {"Authorization": f"Bearer {console.made['reader'].key}"}
    assert console.browser.post("/models/reviews/rollback", headers=key).status_code == 403
    assert console.form("/login", key=console.made["app"].key).status_code == 403
    console.control.audit.flush(all_of_them=True)
    rows = table.page(console.control.store, Filter(), limit=100)
    assert {(row["act"], row["actor"].split(" ")[0]) for row in rows} == {
        ("models.rollback", "reader"),
        ("login", "app"),
    }


@pytest.mark.parametrize(
    ("proxies", "address"),
    [(["127.0.0.0/8"], "203.0.113.7"), (["10.9.0.0/16"], "127.0.0.1"), ([], "127.0.0.1")],
)
def test_an_address_in_a_header_counts_only_from_a_trusted_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: list[str], address: str
) -> None:
    made, options = RunningControl(tmp_path), dict[str, Any]()
    with monkeypatch.context() as patched:
        patched.setattr("ops.apps.http_server.uvicorn.run", lambda _, **given: options.update(given))
        patched.setattr("ops.apps.http_server.signal.signal", lambda *_: None)
        serve(made.app, "127.0.0.1:1", proxies)
    own = {name: options[name] for name in ("proxy_headers", "forwarded_allow_ips")}
    with running(made.app, made.port, **own):
        url = f"http://127.0.0.1:{made.port}/feedback.json"
        assert httpx.get(url, headers={"X-Forwarded-For": "203.0.113.7"}, trust_env=False).status_code == 200
        made.app.state.control.audit.flush(all_of_them=True)
        (row,) = table.page(made.store, Filter(), limit=10)
    assert (row["act"], row["address"]) == ("texts.read", address)


def test_the_page_filters_pages_and_escapes(console: KeyedConsole) -> None:
    ring = console.control.keyring
    console.made["admin"] = ring.make(NewKey("<b>admin</b>", (Scope.ADMIN,)), "test")
    console.log_in("reader")
    assert console.browser.get("/audit").status_code == 403
    console.log_in("admin")
    for n in range(30):
        console.browser.get(f"/feedback?words={n}")
        console.control.audit.flush(all_of_them=True)
    page = console.browser.get("/audit?act=texts")
    assert page.status_code == 200 and "<b>admin</b>" not in page.text and "&lt;b&gt;admin" in page.text
    assert page.text.count("<code>texts.read</code>") == 25
    older = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert older
    second = console.browser.get(older[1].replace("&amp;", "&"))
    assert second.text.count("<code>texts.read</code>") == 5 and 'rel="next"' not in second.text
    twin = console.browser.get("/audit.json?act=login&outcome=ok").json()
    assert [row["act"] for row in twin["rows"]] == ["login", "login"] and twin["chain"]["ok"]
    assert console.browser.get("/audit?act=x").status_code == 422
    assert "No row matches" in console.browser.get("/audit?actor=nobody").text


def test_the_commands_list_acts_and_verify_the_chain(tmp_path: Path) -> None:
    made = RunningControl(tmp_path)
    with running(made.app, made.port):
        assert made.run("keys", "create", "shop", "--scope", "infer").exit_code == 0
        rows = json.loads(made.run("audit", "--act", "keys", "--json").stdout)
        assert [(row["act"], row["actor"], row["address"]) for row in rows] == [("keys.create", "anyone", "127.0.0.1")]
        table_of = made.run("audit", "--outcome", "ok", "--actor", "anyone")
        assert "keys.create" in table_of.stdout and "127.0.0.1" in table_of.stdout
        assert made.run("audit", "--act", "kyes").exit_code == 1
        whole = made.run("audit", "verify")
        assert whole.exit_code == 0 and whole.stdout.startswith("whole: ")
        with made.store.transaction() as transaction:
            transaction._connection.execute("UPDATE audit_log SET actor = 'else' WHERE seq = 1")
        assert made.run("audit", "verify").exit_code == 1
