"""Facts about an audit log that cannot be written: which acts are refused, and which rows wait."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from core.acts import NEVER_REFUSED, Act, declared
from core.api_keys import Scope
from core.audit_log import Entry, verify_store
from core.clock import utc_now
from core.db import audit_log as table
from core.db.audit_log import Filter
from core.db.store import Store, Transaction
from core.errors import ActNotRecorded
from ops.audit.middleware import AuditMiddleware
from ops.audit.recorder import AuditRecorder
from tests.support.audited import SECRET, Audited, audited, fill_disk
from tests.support.authorization import CONTROL


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audited]:
    with audited(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def repair(control: Audited, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The disk is full from now on, until this is called."""
    return fill_disk(monkeypatch)


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


def test_refusals_are_lost_before_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.audit.recorder.MOST_UNWRITTEN", 3)
    store = Store(":memory:")
    recorder = AuditRecorder(store=store, clock=utc_now)
    repair = fill_disk(monkeypatch)
    for number in range(5):
        recorder.later(Entry(utc_now(), Act.ACCESS, "refused", 401, address=f"10.0.0.{number}"))
    recorder.try_flush(all_of_them=True)
    for number in range(2):
        with pytest.raises(ActNotRecorded):
            recorder.write(Entry(utc_now(), Act.KEYS_CREATE, thing=f"key-{number}"))
    repair()
    recorder.flush()
    assert [row["address"] or row["object"] for row in table.page(store, Filter(), limit=9)] == [
        "key-1",
        "key-0",
        "10.0.0.0",
    ]
    store.close()


def test_an_export_without_a_row_is_not_made(control: Audited, repair: Callable[[], None]) -> None:
    """The client may still be there, so that nothing but the refusal ends the export."""
    (route,) = [each for each in control.app.routes if each.path == "/api/export/{kind}"]  # type: ignore[attr-defined]
    sent: list[Any] = []
    made: list[int] = []

    async def export(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(1000):
            made.append(number)
            await send({"type": "http.response.body", "body": b"{}", "more_body": True})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "route": route, "path_params": {"kind": "feedback"}, "query_string": b""}
    asyncio.run(AuditMiddleware(export, control=control.control)(scope, cast(Any, None), send))
    assert made == [] and [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 500 and b"audit log" in sent[1]["body"]


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


def test_the_check_of_the_log_comes_after_that_of_the_key(control: Audited, repair: Callable[[], None]) -> None:
    """So a refusal has its actor, and nobody without a key learns of the state of the log, or gets text into it."""
    admin, reader = (control.keys.by_scope[scope] for scope in (Scope.ADMIN, Scope.OPS_READ))
    control.ask(("POST", "/api/keys"), admin, json={"name": "x", "scopes": ["infer"]})
    assert control.control.audit.failing
    for route in CONTROL:
        assert control.ask(route, None).status_code == 401, route
    path = f"/api/keys/{SECRET}/revoke"
    assert control.ask(("POST", path), None).status_code == 401
    assert control.ask(("POST", path), reader).status_code == 403
    assert control.ask(("POST", path), admin).status_code == 503
    repair()
    rows = control.rows(act="keys.revoke")
    assert [(row["status"], row["actor"]) for row in rows] == [
        (403, control.name(Scope.OPS_READ)),
        (503, control.name(Scope.ADMIN)),
    ]
    assert SECRET not in json.dumps(control.rows(), default=str)


def test_every_act_that_needs_a_row_is_refused_while_the_log_fails(
    control: Audited, repair: Callable[[], None]
) -> None:
    admin, writer = (control.keys.by_scope[scope] for scope in (Scope.ADMIN, Scope.OPS_WRITE))
    control.ask(("POST", "/api/keys"), admin, json={"name": "x", "scopes": ["infer"]})
    every: list[Any] = control.app.routes
    routes = {(method, route.path): declared(route) for route in every for method in route.methods}
    needs = [way for way in CONTROL if (found := routes[way]) and found.act and found.act not in NEVER_REFUSED]
    for way in needs:
        opener = writer if Scope.OPS_WRITE in CONTROL[way] else admin
        assert control.ask(way, opener).status_code == 503, way
    assert len(needs) > 20
