"""Facts about the audit log of control: every route has an act or a reason, and each act has its row."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from fastapi import APIRouter, FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.acts import NEVER_REFUSED, READS, Act, act, act_by_verb, declared, no_act
from core.api_key_store import NewKey
from core.api_keys import Scope
from core.audit_log import append, verify_store
from core.db import audit_log as table
from core.db.audit_log import Filter
from core.db.store import Store, Transaction
from feedback.ingest import add
from ops.audit.middleware import undeclared
from serve.engines.fake import running
from tests.support.authorization import CONTROL, INTERNAL_KEY, Control
from tests.support.console_security import KeyedConsole
from tests.support.ingest import asked
from tests.support.running_control import RunningControl

SECRET = "a text that nobody may find in the log"


class Audited(Control):
    """Control's real app, with the rows of its audit log."""

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        """Rows, oldest first, with those that waited."""
        self.control.audit.flush(all_of_them=True)
        return table.page(self.control.store, Filter(**wanted), limit=1000)[::-1]

    def name(self, scope: Scope) -> str:
        key = self.keys.by_scope[scope]
        return f"{scope} (key {key.split('_')[1]})"


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audited]:
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", INTERNAL_KEY)
    made = Audited(tmp_path)
    made.control.promotion.sync_models(["reviews"])
    with start_blocking_portal() as made.client.portal:
        yield made
    made.control.store.close()


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


# Declarations.


def test_every_route_of_control_and_console_declares_an_act_or_why_it_has_none(control: Audited) -> None:
    assert undeclared(control.app.routes) == []
    for route in control.app.routes:
        found = declared(route)
        assert found and (bool(found.act or found.by_verb) is not bool(found.reason)), route


def test_a_route_without_a_declaration_is_found() -> None:
    router = APIRouter()
    for path, declare in (("/a", act(Act.KEYS_CREATE)), ("/b", no_act("It shows nothing.")), ("/c", lambda f: f)):
        router.add_api_route(path, declare(lambda: None), methods=["POST"])
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    assert undeclared(app.routes) == ["POST /c"]


def test_routes_that_change_something_have_an_act(control: Audited) -> None:
    """A route that takes a POST, or a DELETE, changes something, but for those of gateways and questions."""
    for route in control.app.routes:
        found = declared(route)
        if set(route.methods) - {"GET", "HEAD"} and not route.path.startswith("/internal/"):  # type: ignore[attr-defined]
            assert found and (found.act or found.by_verb), route


def test_acts_by_verb_are_those_of_the_path() -> None:
    found = declared(type("R", (), {"endpoint": act_by_verb({"release": Act.QUARANTINE_RELEASE})(lambda: None)}))
    assert found and found.act_of({"verb": "release"}) is Act.QUARANTINE_RELEASE
    assert found.act_of({"verb": "else"}) is found.act_of({}) is None


def test_keys_exports_erasures_and_texts_are_refused_without_a_row() -> None:
    closed = set(Act) - NEVER_REFUSED
    assert closed >= {Act.KEYS_CREATE, Act.KEYS_REVOKE, Act.DATA_EXPORT, Act.BACKUP_MAKE, Act.USERS_ERASE, *READS}


# Rows.


def test_each_refused_request_of_every_route_has_its_row(control: Audited) -> None:
    for route in CONTROL:
        assert control.ask(route, None).status_code == 401
    (row,) = [row for row in control.rows(act="access") if row["address"] == "others"]
    alone = [row for row in control.rows(act="access") if row["address"] != "others"]
    assert row["n"] + sum(each["n"] for each in alone) == len(CONTROL)
    assert {each["actor"] for each in alone} == {""} and {each["address"] for each in alone} == {"testclient"}


def test_a_key_that_is_made_changed_and_revoked_has_three_rows(control: Audited) -> None:
    admin = control.keys.by_scope[Scope.ADMIN]
    body = {"name": SECRET, "scopes": ["infer"]}
    made = control.ask(("POST", "/api/keys"), admin, json=body)
    identity = made.json()["id"]
    for verb in ("rotate", "revoke"):
        answer = control.ask(("POST", f"/api/keys/{identity}/{verb}"), admin)
        assert answer.status_code == 200 and answer.headers["x-request-id"].startswith("req-")
    rows = control.rows(act="keys")
    assert [row["act"] for row in rows] == ["keys.create", "keys.rotate", "keys.revoke"]
    assert {(row["object"], row["actor"], row["outcome"], row["address"]) for row in rows} == {
        (identity, control.name(Scope.ADMIN), "ok", "testclient")
    }
    assert rows[0]["request_id"] == made.headers["x-request-id"] and rows[0]["status"] == 201
    assert rows[1]["route"] == "POST /api/keys/{identity}/rotate"
    assert made.json()["key"].split("_")[2] not in json.dumps(rows, default=str)
    again = control.ask(("POST", f"/api/keys/{identity}/revoke"), admin)
    assert again.status_code == 409
    (refused,) = control.rows(outcome="refused")
    assert (refused["act"], refused["object"], refused["status"]) == ("keys.revoke", identity, 409)


def test_an_export_has_a_row_with_its_model_and_kind_and_no_word_of_its_content(control: Audited) -> None:
    request = {"messages": [{"role": "user", "content": SECRET}]}
    add(control.control.store, [asked("chatcmpl-1", model="reviews", request=request, answer=SECRET, user="u-ada")])
    key = control.keys.by_scope[Scope.ADMIN]
    assert SECRET in control.ask(("GET", "/api/export/interactions?model=reviews"), key).text
    (row,) = control.rows(act="data.export")
    assert (row["object"], row["model"], row["actor"]) == ("interactions", "reviews", control.name(Scope.ADMIN))


def test_a_page_of_many_texts_is_one_row_and_a_page_of_numbers_none(control: Audited) -> None:
    add(control.control.store, [asked(f"chatcmpl-{n}", model="reviews", request={"messages": []}) for n in range(30)])
    key = control.keys.by_scope[Scope.OPS_READ]
    for path in ("/feedback", "/promotions", "/runs", "/api/models", "/feedback/chatcmpl-3", "/feedback/chatcmpl-3"):
        assert control.ask(("GET", path), key).status_code == 200, path
    rows = [(row["route"], row["object"], row["model"], row["n"]) for row in control.rows(act="texts")]
    assert rows == [
        ("GET /feedback", "", None, 1),
        ("GET /feedback/{identity}", "chatcmpl-3", "reviews", 2),
    ]
    assert len(control.rows()) == 2


def test_neither_a_search_nor_a_path_nor_a_body_gets_into_the_log(control: Audited) -> None:
    keys = control.keys.by_scope
    control.ask(("GET", f"/feedback?words={SECRET}&model={SECRET}"), keys[Scope.OPS_READ])
    control.ask(("GET", f"/feedback/{SECRET}"), keys[Scope.OPS_READ])
    control.ask(("POST", f"/api/keys/{SECRET}/revoke"), keys[Scope.ADMIN])
    control.ask(("POST", f"/api/models/{SECRET}/retrain"), keys[Scope.OPS_WRITE])
    control.ask(("POST", f"/api/keys/{SECRET}/revoke"), keys[Scope.OPS_READ])
    control.ask(("POST", "/api/erasures/preview"), keys[Scope.ADMIN], json={"user": SECRET})
    control.ask(("POST", "/api/erasures"), keys[Scope.ADMIN], json={"user": SECRET})
    rows = control.rows()
    assert {row["act"] for row in rows} == {
        "texts.read",
        "keys.revoke",
        "runs.start",
        "users.preview",
        "users.erase",
    }
    said = json.dumps(rows, default=str)
    assert SECRET not in said and not re.search("llk_|Bearer|secret", said)
    (erased,) = control.rows(act="users.erase")
    assert erased["object"].startswith("erase-")


def test_a_key_without_the_scope_has_a_row_under_its_own_name(control: Audited) -> None:
    reader = control.keys.by_scope[Scope.OPS_READ]
    assert control.ask(("POST", "/api/backup"), reader).status_code == 403
    assert control.ask(("GET", "/api/keys"), reader).status_code == 403  # no act, but nobody may try it unseen
    rows = control.rows()
    assert [(row["act"], row["outcome"], row["status"]) for row in rows] == [
        ("backup.make", "refused", 403),
        ("access", "refused", 403),
    ]


def test_the_log_is_whole_after_all_this_and_reading_it_is_an_act(control: Audited) -> None:
    admin, reader = (control.keys.by_scope[scope] for scope in (Scope.ADMIN, Scope.OPS_READ))
    for _ in range(3):
        control.ask(("POST", "/api/backup"), admin)
        control.ask(("GET", "/feedback"), reader)
    assert control.ask(("GET", "/api/audit"), reader).status_code == 403
    listed = control.ask(("GET", "/api/audit?act=backup&limit=2"), admin).json()
    assert [row["act"] for row in listed] == ["backup.make"] * 2
    assert control.ask(("GET", "/api/audit?act=nothing"), admin).status_code == 422
    assert {row["act"] for row in control.rows(act="audit")} == {"audit.read"}
    report = control.ask(("GET", "/api/audit/chain"), reader).json()
    assert report["ok"] and not report["failing"] and verify_store(control.control.store).ok


def test_the_first_key_of_a_store_has_a_row() -> None:
    from core.api_key_store import ApiKeyStore
    from core.clock import utc_now

    store = Store(":memory:")
    made = ApiKeyStore(store=store, clock=utc_now).make_first()
    (row,) = table.page(store, Filter(), limit=10)
    assert made and (row["act"], row["actor"], row["object"]) == ("keys.create", "first start", made.id)
    store.close()


# A log that cannot be written.


@pytest.fixture
def repair(control: Audited, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The disk is full from now on, until this is called."""
    monkeypatch.setattr("ops.audit.recorder.append", full)
    monkeypatch.setattr("ops.audit.recorder.FLUSH_SECONDS", 0.0)
    return lambda: monkeypatch.setattr("ops.audit.recorder.append", append)


def test_nothing_is_handed_out_without_a_row(control: Audited, repair: Callable[[], None]) -> None:
    admin = control.keys.by_scope[Scope.ADMIN]
    first = control.ask(("POST", "/api/keys"), admin, json={"name": "x", "scopes": ["admin"]})
    assert first.status_code == 500 and "llk_" not in first.text and "audit log" in first.text
    assert "retry-after" not in first.headers  # it may be done, and asking again could do it twice
    before = len(control.control.keyring.all())
    for route in (("POST", "/api/keys"), ("GET", "/api/export/feedback"), ("POST", "/api/backup")):
        assert control.ask(route, admin, json={"name": "y", "scopes": ["admin"]}).status_code == 503, route
    assert control.ask(("GET", "/feedback"), admin).status_code == 503
    assert len(control.control.keyring.all()) == before  # refused before anything was done
    assert control.ask(("GET", "/promotions"), admin).status_code == 200
    assert control.ask(("GET", "/api/audit/chain"), admin).json()["failing"]
    repair()
    assert control.ask(("GET", "/feedback"), admin).status_code == 200
    rows = control.rows()
    assert [row["outcome"] for row in rows if row["act"] == "keys.create"] == ["ok", "failed"]  # late, and not lost
    assert verify_store(control.control.store).ok and not control.control.audit.failing


def test_what_the_ledger_holds_is_done_although_its_row_waits(control: Audited, repair: Callable[[], None]) -> None:
    writer = control.keys.by_scope[Scope.OPS_WRITE]
    for _ in range(2):
        assert control.ask(("POST", "/api/notifications/test"), writer).status_code == 200
    repair()
    assert [row["act"] for row in control.rows()] == ["notifications.test"] * 2


def test_rows_that_wait_are_bounded(
    control: Audited, repair: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.audit.recorder.MOST_UNWRITTEN", 3)
    writer = control.keys.by_scope[Scope.OPS_WRITE]
    for _ in range(9):
        control.ask(("POST", "/api/notifications/test"), writer)
    repair()
    assert len(control.rows()) == 3


def test_an_act_that_ends_in_a_bug_has_a_row(control: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(type(control.control.keyring), "make", broken)
    body = {"name": "x", "scopes": ["infer"]}
    assert control.ask(("POST", "/api/keys"), control.keys.by_scope[Scope.ADMIN], json=body).status_code == 500
    (row,) = control.rows()
    assert (row["act"], row["outcome"], row["status"]) == ("keys.create", "failed", 500)


def test_reads_cost_no_transaction_of_their_own(control: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    run = Transaction.run_set
    monkeypatch.setattr(Transaction, "run_set", lambda self, name, rows: written.append(name) or run(self, name, rows))
    for _ in range(20):
        control.ask(("GET", "/feedback"), control.keys.by_scope[Scope.OPS_READ])
    assert written == []
    assert [row["n"] for row in control.rows()] == [20] and written == ["audit_log.append"]


# The console.


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


# The command line.


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
