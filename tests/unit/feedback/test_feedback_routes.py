"""Facts about the feedback routes of the gateway: when they acknowledge, and what a batch leaves."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from core.api_keys import Grant, Scope
from core.db.store import Store
from core.errors import SpoolFull
from core.http import install_errors
from core.record_codec import Record, decode_all
from core.records import Feedback, Revocation
from core.spool import SpoolWriter, frame, read_frames, segments
from feedback import routes
from feedback.ingest import ingest
from serve.gateway.authentication import RequestPermit
from tests.support.ingest import NOW, pieces, query


@pytest.fixture
def store() -> Any:
    store = Store(":memory:")
    yield store
    store.close()


class Doors:
    """The feedback routes on a real spool."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.counted = SpoolWriter(folder), []
        app = FastAPI()
        install_errors(app)
        count: list[str] = self.counted
        self.grant = Grant("k1", "", (Scope.FEEDBACK,))

        def let_in(request: Request) -> None:
            request.state.admission = RequestPermit(self.grant, None, {})

        door = Depends(let_in)
        app.include_router(
            routes.create_router(spool=self.spool, clock=lambda: NOW, count=count.append, givers=door, revokers=door)
        )
        self.client = TestClient(app)

    def records(self) -> list[Record]:
        found = segments(self.spool.folder)
        return [r for s in found for payload, _ in read_frames(s.path.read_bytes()) for r in decode_all(payload)]


@pytest.fixture
def doors(tmp_path: Path) -> Any:
    doors = Doors(tmp_path)
    yield doors
    doors.spool.close()


def test_feedback_is_acknowledged_after_the_fsync_that_covers_it(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = SpoolWriter.durable

    async def durable(self: SpoolWriter, ticket: int) -> None:
        await real(self, ticket)
        assert self._synced >= ticket == self._appended == 1
        order.append("durable")

    monkeypatch.setattr(SpoolWriter, "durable", durable)
    body = [{"interaction_id": f"i{n}", "type": "thumbs", "value": True} for n in range(3)]
    answer = doors.client.post("/v1/feedback", json=body)
    order.append("answered")
    assert answer.status_code == 202 and order == ["durable", "answered"]
    assert [entry["feedback_id"] for entry in answer.json()] == [record.id for record in doors.records()]  # type: ignore[union-attr]
    assert doors.counted == ["thumbs"] * 3


def test_one_object_is_answered_with_one_object_and_keeps_its_own_id(doors: Doors) -> None:
    body = {"id": "mine", "conversation_id": "c", "type": "comment", "value": "good", "metadata": {"page": "7"}}
    assert doors.client.post("/v1/feedback", json=body).json() == {"feedback_id": "mine"}
    kept = Feedback("k1:mine", NOW, None, "c", "comment", "good", metadata={"page": "7"}, key_id="k1")
    assert doors.records() == [kept]


@pytest.mark.parametrize(("scope", "of_any"), [(Scope.FEEDBACK, "k1"), (Scope.OPS_WRITE, None), (Scope.ADMIN, None)])
def test_feedback_is_taken_back_by_its_id(doors: Doors, scope: Scope, of_any: str | None) -> None:
    doors.grant = Grant("k1", "", (scope,))
    assert doors.client.delete("/v1/feedback/f1").json() == {"feedback_id": "f1"}
    assert doors.records() == [Revocation("f1", NOW, of_any), Revocation("k1:f1", NOW, "k1")]


def test_one_apps_ids_neither_take_nor_take_back_anothers(doors: Doors, store: Store) -> None:
    made: dict[str, str] = {}
    for key in ("k1", "k2"):
        doors.grant = Grant(key, "", (Scope.FEEDBACK,))
        for body in ({"id": "1"}, {"id": "1"}, {}):
            said = {"interaction_id": "i1", "type": "thumbs", "value": key == "k1"} | body
            made[key] = doors.client.post("/v1/feedback", json=said).json()["feedback_id"]
    doors.grant = Grant("k2", "", (Scope.FEEDBACK,))
    for identity in ("1", made["k1"], "k1:1"):
        doors.client.delete(f"/v1/feedback/{identity}")
    doors.grant = Grant("ops", "", (Scope.OPS_WRITE,))
    doors.client.delete(f"/v1/feedback/{made['k2']}")
    ingest(store, "g", 1, 0, pieces(*doors.records()))
    found = query(store, "SELECT id, key_id, revoked_at IS NULL FROM feedback ORDER BY key_id, length(id)")
    assert found == [("k1:1", "k1", True), (made["k1"], "k1", True), ("k2:1", "k2", False), (made["k2"], "k2", False)]
    assert [json.loads(value) for (value,) in query(store, "SELECT value FROM feedback WHERE id = 'k1:1'")] == [True]


def test_records_from_before_keys_were_written_down_are_still_read(store: Store) -> None:
    old = (
        b'{"kind":"feedback","id":"f1","time":"2026-03-01T03:00:00+00:00","interaction_id":"i1",'
        b'"conversation_id":null,"type":"thumbs","value":true,"comment":null,"user":null,"metadata":{}}'
    )
    taken_back = b'{"kind":"revocation","feedback_id":"f1","time":"2026-03-01T03:00:00+00:00"}'
    ingest(store, "g", 1, 0, frame(old) + frame(taken_back))
    assert query(store, "SELECT id, key_id, revoked_at IS NULL FROM feedback") == [("f1", None, False)]


@pytest.mark.parametrize("identity", ["%00", "a%20b", "%C3%BC", "x" * 257])
def test_an_id_that_feedback_cannot_have_cannot_be_taken_back(doors: Doors, identity: str) -> None:
    assert doors.client.delete(f"/v1/feedback/{identity}").status_code == 422
    assert doors.records() == []


def test_a_batch_with_one_wrong_entry_leaves_nothing_behind(doors: Doors) -> None:
    good = {"interaction_id": "i", "type": "thumbs", "value": True}
    answer = doors.client.post("/v1/feedback", json=[good, good | {"value": "yes"}])
    assert answer.status_code == 422 and answer.json()["error"]["message"].startswith("1: value: thumbs")
    assert doors.records() == []


def test_a_full_spool_is_503_with_retry_after(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise SpoolFull("The spool is full.", hint="Free space.")

    monkeypatch.setattr(SpoolWriter, "append", full)
    answer = doors.client.post("/v1/feedback", json={"interaction_id": "i", "type": "thumbs", "value": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "spool_full")
    assert answer.headers["retry-after"] == "2" and doors.counted == []


@pytest.mark.parametrize("taken", [0, 1, 40, 400])
def test_a_batch_that_meets_a_full_disk_anywhere_leaves_nothing_and_its_retry_stands_once(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    body = [{"interaction_id": f"i{n}", "type": "thumbs", "value": True} for n in range(5)]
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:taken])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert doors.client.post("/v1/feedback", json=body).status_code == 503
    assert doors.records() == []
    assert doors.client.post("/v1/feedback", json=body).status_code == 202
    assert [r.interaction_id for r in doors.records() if isinstance(r, Feedback)] == [f"i{n}" for n in range(5)]


def test_a_batch_that_a_kill_cuts_anywhere_leaves_nothing(doors: Doors) -> None:
    body = [{"interaction_id": f"i{n}", "type": "thumbs", "value": True} for n in range(3)]
    doors.client.post("/v1/feedback", json=body)
    text = segments(doors.spool.folder)[0].path.read_bytes()
    assert [len(list(read_frames(text[:cut]))) for cut in range(len(text) + 1)] == [0] * len(text) + [1]


def test_a_batch_becomes_rows_like_any_other(store: Store, doors: Doors) -> None:
    body = [{"id": f"f{n}", "interaction_id": "i", "type": "thumbs", "value": True} for n in range(3)]
    doors.client.post("/v1/feedback", json=body)
    ingest(store, "g", 1, 0, segments(doors.spool.folder)[0].path.read_bytes())
    assert query(store, "SELECT id FROM feedback ORDER BY id") == [("k1:f0",), ("k1:f1",), ("k1:f2",)]
