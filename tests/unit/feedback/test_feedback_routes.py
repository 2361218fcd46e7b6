"""Facts about the feedback routes of the gateway: when they acknowledge, and what a batch leaves."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from core.api_keys import Grant, Scope
from core.db.store import Store
from core.errors import InputError, SpoolFull
from core.records import Feedback, Revocation
from core.spool import SpoolWriter, frame, read_frames, segments
from feedback.ingest import ingest
from serve.routing.table import sticky_key
from tests.support.feedback_app import FeedbackApp
from tests.support.ingest import NOW, pieces, query


@pytest.fixture
def store() -> Any:
    store = Store(":memory:")
    yield store
    store.close()


@pytest.fixture
def app(tmp_path: Path) -> Any:
    app = FeedbackApp(tmp_path)
    yield app
    app.spool.close()


def test_feedback_is_acknowledged_after_the_fsync_that_covers_it(
    app: FeedbackApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = SpoolWriter.durable

    async def durable(self: SpoolWriter, ticket: int) -> None:
        await real(self, ticket)
        assert self._synced >= ticket == self._appended == 1
        order.append("durable")

    monkeypatch.setattr(SpoolWriter, "durable", durable)
    body = [{"interaction_id": f"i{n}", "type": "thumbs", "value": True} for n in range(3)]
    answer = app.client.post("/v1/feedback", json=body)
    order.append("answered")
    assert answer.status_code == 202 and order == ["durable", "answered"]
    assert [entry["feedback_id"] for entry in answer.json()] == [record.id for record in app.records()]  # type: ignore[union-attr]
    assert app.counted == ["thumbs"] * 3


def test_one_object_is_answered_with_one_object_and_keeps_its_own_id(app: FeedbackApp) -> None:
    body = {"id": "mine", "conversation_id": "c", "type": "comment", "value": "good", "metadata": {"page": "7"}}
    assert app.client.post("/v1/feedback", json=body).json() == {"feedback_id": "mine"}
    kept = Feedback("k1:mine", NOW, None, "c", "comment", "good", metadata={"page": "7"}, key_id="k1")
    assert app.records() == [kept]


@pytest.mark.parametrize(("scope", "of_any"), [(Scope.FEEDBACK, "k1"), (Scope.OPS_WRITE, None), (Scope.ADMIN, None)])
def test_feedback_is_taken_back_by_its_id(app: FeedbackApp, scope: Scope, of_any: str | None) -> None:
    app.grant = Grant("k1", "", (scope,))
    assert app.client.delete("/v1/feedback/f1").json() == {"feedback_id": "f1"}
    assert app.records() == [Revocation("f1", NOW, of_any, "k1")]


def test_one_apps_ids_neither_take_nor_take_back_anothers(app: FeedbackApp, store: Store) -> None:
    made: dict[str, str] = {}
    for key in ("k1", "k2"):
        app.grant = Grant(key, "", (Scope.FEEDBACK,))
        for body in ({"id": "1"}, {"id": "1"}, {}):
            said = {"interaction_id": "i1", "type": "thumbs", "value": key == "k1"} | body
            made[key] = app.client.post("/v1/feedback", json=said).json()["feedback_id"]
    app.grant = Grant("k2", "", (Scope.FEEDBACK,))
    for identity in ("1", made["k1"], "k1:1"):
        app.client.delete(f"/v1/feedback/{identity}")
    app.grant = Grant("ops", "", (Scope.OPS_WRITE,))
    app.client.delete(f"/v1/feedback/{made['k2']}")
    ingest(store, "g", 1, 0, pieces(*app.records()))
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
def test_an_id_that_feedback_cannot_have_cannot_be_taken_back(app: FeedbackApp, identity: str) -> None:
    assert app.client.delete(f"/v1/feedback/{identity}").status_code == 422
    assert app.records() == []


GOOD = {"interaction_id": "i", "type": "thumbs", "value": True}


def test_one_wrong_entry_of_a_batch_does_not_cost_the_others(app: FeedbackApp) -> None:
    answer = app.client.post("/v1/feedback", json=[GOOD, GOOD | {"value": "yes"}, GOOD | {"id": "mine"}])
    first, second, third = answer.json()
    assert answer.status_code == 207
    assert [record.id for record in app.records()] == [first["feedback_id"], "k1:mine"]  # type: ignore[union-attr]
    assert third == {"feedback_id": "mine"} and app.counted == ["thumbs"] * 2
    assert second["error"] == {
        "message": "1.value: thumbs takes true or false.",
        "type": "invalid_request_error",
        "param": "1.value",
        "code": "input_error",
    }


def test_a_batch_of_wrong_entries_is_422_with_one_result_per_entry(app: FeedbackApp) -> None:
    answer = app.client.post("/v1/feedback", json=[GOOD | {"usr": "a"}, "text"])
    results = answer.json()["results"]
    assert answer.status_code == 422 and answer.json()["error"]["param"] == "0.usr"
    assert results[0]["error"]["message"].startswith("0.usr: no such field. Fields: id,")
    assert results[1]["error"]["message"].startswith("1: ")
    assert app.records() == []


def test_a_single_wrong_object_is_422_with_its_field(app: FeedbackApp) -> None:
    answer = app.client.post("/v1/feedback", json=GOOD | {"comment": "x" * 10_000_000})
    assert answer.status_code == 413 and "larger than 4194304 bytes" in answer.json()["error"]["message"]
    answer = app.client.post("/v1/feedback", json=GOOD | {"comment": "x" * 1_000_000})
    assert answer.status_code == 422 and answer.json()["error"]["param"] == "comment"
    assert "10000 characters, this one has 1,000,000" in answer.json()["error"]["message"]
    assert "results" not in answer.json()


def test_half_of_a_surrogate_pair_is_refused_with_its_element(app: FeedbackApp) -> None:
    bodies = [GOOD, GOOD | {"metadata": {"page": "a\ud83d"}}, GOOD | {"user": "n\0"}]
    answer = app.client.post("/v1/feedback", content=json.dumps(bodies))
    assert answer.status_code == 207 and len(app.records()) == 1
    half, null = (result["error"] for result in answer.json()[1:])
    assert half["param"] == "1.metadata.page" and "half of a surrogate pair (U+D83D) at position 2" in half["message"]
    assert null["param"] == "2.user" and "a NUL character at position 2" in null["message"]


@pytest.mark.parametrize("content", [b"{", b'{"a": "\\u00"}', b'[{"a": "\\ud83d"', b"[" * 100_000 + b'"\\u0041"'])
def test_a_body_that_is_not_json_is_422(app: FeedbackApp, content: bytes) -> None:
    answer = app.client.post("/v1/feedback", content=content)
    assert answer.status_code == 422 and "is not JSON" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["user 17", "Zoë", "山田", "a/b?c#d", "x" * 512])
def test_any_name_that_a_completion_takes_may_vote(app: FeedbackApp, name: str) -> None:
    body = {"messages": [], "user": name, "metadata": {"conversation_id": name}}
    said = {"conversation_id": name, "type": "thumbs", "value": True, "user": name}
    assert app.client.post("/v1/feedback", json=said).status_code == 202
    (record,) = app.records()
    assert isinstance(record, Feedback)
    assert sticky_key(body) == (record.user, record.user, record.conversation_id)


def test_composed_and_decomposed_accents_are_one_user(app: FeedbackApp) -> None:
    said = GOOD | {"user": "Zoe\u0308"}
    assert app.client.post("/v1/feedback", json=said).status_code == 202
    assert [record.user for record in app.records()] == ["Zo\u00eb"]  # type: ignore[union-attr]
    assert sticky_key({"user": "Zoe\u0308"})[1] == sticky_key({"user": "Zo\u00eb"})[1] == "Zo\u00eb"


def test_a_name_that_is_too_long_is_refused_in_both_places(app: FeedbackApp) -> None:
    answer = app.client.post("/v1/feedback", json=GOOD | {"user": "x" * 513})
    assert answer.status_code == 422 and "513 characters long, the limit is 512" in answer.json()["error"]["message"]
    with pytest.raises(InputError, match="user: is 513 characters long, the limit is 512"):
        sticky_key({"user": "x" * 513})
    with pytest.raises(InputError, match=r"metadata\.conversation_id: has a NUL character at position 1"):
        sticky_key({"metadata": {"conversation_id": "\0"}})


@pytest.mark.parametrize("fields", [{"user": "reviewer:k1"}, {"metadata": {"source": "console"}}])
def test_only_a_key_with_ops_write_gives_a_reviewers_feedback(app: FeedbackApp, fields: dict[str, Any]) -> None:
    assert app.client.post("/v1/feedback", json=GOOD | fields).status_code == 422
    app.grant = Grant("k1", "", (Scope.FEEDBACK, Scope.OPS_WRITE))
    assert app.client.post("/v1/feedback", json=GOOD | fields).status_code == 202


@pytest.mark.parametrize("sent", ["order/17", "order%2F17"])
def test_an_id_with_a_slash_can_be_taken_back(app: FeedbackApp, store: Store, sent: str) -> None:
    app.client.post("/v1/feedback", json=GOOD | {"id": "order/17"})
    assert app.client.delete(f"/v1/feedback/{sent}").json() == {"feedback_id": "order/17"}
    ingest(store, "g", 1, 0, pieces(*app.records()))
    assert query(store, "SELECT id, revoked_at IS NULL FROM feedback") == [("k1:order/17", False)]


def test_a_full_spool_is_503_with_retry_after(app: FeedbackApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise SpoolFull("The spool is full.", hint="Free space.")

    monkeypatch.setattr(SpoolWriter, "append", full)
    answer = app.client.post("/v1/feedback", json={"interaction_id": "i", "type": "thumbs", "value": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "spool_full")
    assert answer.headers["retry-after"] == "2" and app.counted == []


@pytest.mark.parametrize("taken", [0, 1, 40, 400])
def test_a_batch_that_meets_a_full_disk_anywhere_leaves_nothing_and_its_retry_is_stored_once(
    app: FeedbackApp, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    body = [{"interaction_id": f"i{n}", "type": "thumbs", "value": True} for n in range(5)]
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:taken])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert app.client.post("/v1/feedback", json=body).status_code == 503
    assert app.records() == []
    assert app.client.post("/v1/feedback", json=body).status_code == 202
    assert [r.interaction_id for r in app.records() if isinstance(r, Feedback)] == [f"i{n}" for n in range(5)]


def test_a_batch_that_a_kill_cuts_anywhere_leaves_nothing(app: FeedbackApp) -> None:
    body = [{"interaction_id": f"i{n}", "type": "thumbs", "value": True} for n in range(3)]
    app.client.post("/v1/feedback", json=body)
    text = segments(app.spool.folder)[0].path.read_bytes()
    assert [len(read_frames(text[:cut]).whole) for cut in range(len(text) + 1)] == [0] * len(text) + [1]


def test_a_batch_becomes_rows_like_any_other(store: Store, app: FeedbackApp) -> None:
    body = [{"id": f"f{n}", "interaction_id": "i", "type": "thumbs", "value": True} for n in range(3)]
    app.client.post("/v1/feedback", json=body)
    ingest(store, "g", 1, 0, segments(app.spool.folder)[0].path.read_bytes())
    assert query(store, "SELECT id FROM feedback ORDER BY id") == [("k1:f0",), ("k1:f1",), ("k1:f2",)]
