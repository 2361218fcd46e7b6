"""Facts about the audit log of control: every route has an act or a reason, and each act has its row."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from core.acts import NEVER_REFUSED, READS, Act, act, act_by_verb, declared, no_act
from core.api_key_store import ApiKeyStore, NewKey
from core.api_keys import Limits, Scope
from core.audit_log import verify_store
from core.clock import utc_now
from core.db import audit_log as table
from core.db.audit_log import Filter
from core.db.store import Store
from feedback.ingest import add
from ops.audit.middleware import undeclared
from tests.support.audited import SECRET, Audited, audited
from tests.support.authorization import CONTROL
from tests.support.ingest import asked, said


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audited]:
    with audited(tmp_path, monkeypatch) as made:
        yield made


EXAMPLE = b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a"}]}\n'


def broken(*_: Any, **__: Any) -> None:
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
    (row,) = control.rows(act="access")
    assert (row["n"], row["actor"], row["address"], row["route"]) == (len(CONTROL), "", "testclient", "")


def test_a_method_that_a_route_does_not_take_has_no_row(control: Audited) -> None:
    """It is refused before the key is checked, so that rows of it would be rows of nobody about any act."""
    assert control.ask(("PUT", "/api/backup"), None).status_code == 405
    assert control.ask(("PUT", "/api/backup"), control.keys.by_scope[Scope.ADMIN]).status_code == 405
    assert control.rows() == []


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
    assert made.json()["key"].split("_", 2)[2] not in json.dumps(rows, default=str)
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
    assert {row["actor"] for row in rows} == {control.name(Scope.OPS_READ)}


def test_a_key_that_reached_its_limit_has_a_row_under_its_own_name(control: Audited) -> None:
    made = control.control.keyring.make(NewKey("slow", (Scope.ADMIN,), limits=Limits(requests_per_minute=1)), "test")
    assert [control.ask(("POST", "/api/backup"), made.key).status_code for _ in range(2)] == [200, 429]
    assert [(row["status"], row["actor"]) for row in control.rows()] == [
        (200, f"slow (key {made.id})"),
        (429, f"slow (key {made.id})"),
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


def test_a_report_goes_on_from_the_last_one_and_all_rows_are_checked_for_an_admin(control: Audited) -> None:
    admin, reader = (control.keys.by_scope[scope] for scope in (Scope.ADMIN, Scope.OPS_READ))
    for _ in range(3):
        control.ask(("POST", "/api/backup"), admin)
    assert control.ask(("GET", "/api/audit/chain"), reader).json()["ok"]
    with control.control.store.transaction() as transaction:
        transaction._connection.execute("UPDATE audit_log SET actor = 'else' WHERE seq = 1")
    assert control.ask(("GET", "/api/audit/chain"), reader).json()["ok"]
    assert control.ask(("GET", "/api/audit/chain?whole=true"), reader).status_code == 403
    assert not control.ask(("GET", "/api/audit/chain?whole=true"), admin).json()["ok"]
    assert not control.ask(("GET", "/api/audit/chain"), reader).json()["ok"]


def test_the_first_key_of_a_store_has_a_row() -> None:
    store = Store(":memory:")
    made = ApiKeyStore(store=store, clock=utc_now).make_first()
    (row,) = table.page(store, Filter(), limit=10)
    assert made and (row["act"], row["actor"], row["object"]) == ("keys.create", "first start", made.id)
    store.close()


def test_a_first_key_without_its_row_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its secret is shown after the row, and a store that had a key gets no other first one."""
    store = Store(":memory:")
    ring = ApiKeyStore(store=store, clock=utc_now)
    monkeypatch.setattr("core.api_key_store.audit_log.append", broken)
    with pytest.raises(OSError, match="No space"):
        ring.make_first()
    monkeypatch.undo()
    assert ring.all() == [] and ring.make_first() and len(ring.grants) == 1
    store.close()


def test_a_row_has_the_model_and_the_id_that_only_the_handler_knows(control: Audited) -> None:
    writer, admin = (control.keys.by_scope[scope] for scope in (Scope.OPS_WRITE, Scope.ADMIN))
    control.control.keyring.make(NewKey("k", (Scope.INFER,)), "test")
    add(control.control.store, [asked("i1", model="reviews", key_id="k"), replace(said("f1", "i1"), key_id="k")])
    held = control.ask(("POST", "/api/quarantine"), writer, json={"model": "reviews", "key": "k"}).json()
    run = control.ask(("POST", "/api/models/reviews/retrain"), writer).json()["run_id"]
    form = {"purpose": (None, "fine-tune"), "file": ("x.jsonl", EXAMPLE)}
    file = control.ask(("POST", "/v1/files?model=reviews"), writer, json=None, files=form).json()["id"]
    wanted = {"model": "reviews", "training_file": file}
    job = control.ask(("POST", "/v1/fine_tuning/jobs"), writer, json=wanted).json()["id"]
    assert control.ask(("DELETE", f"/v1/files/{file}"), writer).status_code == 200
    deletion = control.ask(("POST", "/api/retention/runs"), admin).json()["id"]
    control.ask(("GET", f"/api/quarantine/{held[0]['id']}?model=movies"), admin)
    assert [(row["act"], row["model"], row["object"]) for row in control.rows() if row["object"]] == [
        ("quarantine.hold", "reviews", held[0]["id"]),
        ("runs.start", "reviews", run),
        ("files.upload", "reviews", file),
        ("runs.start", "reviews", job),
        ("files.delete", "reviews", file),
        ("retention.run", None, deletion),
        ("texts.read", "reviews", held[0]["id"]),
    ]


def test_a_model_in_the_query_counts_only_on_a_route_that_takes_it(control: Audited) -> None:
    admin = control.keys.by_scope[Scope.ADMIN]
    for path in ("/api/dead-letters?model=reviews", "/feedback?model=reviews"):
        assert control.ask(("GET", path), admin).status_code == 200
    assert {row["route"]: row["model"] for row in control.rows()} == {
        "GET /api/dead-letters": None,
        "GET /feedback": "reviews",
    }


def test_an_act_whose_model_cannot_be_found_has_its_row(control: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.audit.middleware.model_of", broken)
    assert control.ask(("POST", "/api/backup"), control.keys.by_scope[Scope.ADMIN]).status_code == 200
    assert [row["act"] for row in control.rows()] == ["backup.make"]
