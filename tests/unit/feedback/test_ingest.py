"""Facts about ingest: each row exactly once, in whatever order and how often the pieces come."""

import errno
import json
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api_keys import Grant, Scope
from core.db import feedback, spools
from core.db.store import Store, Transaction
from core.errors import SpoolFull
from core.http import install_errors
from core.record_codec import Record, decode_all, encode
from core.records import Feedback, Interaction, Revocation
from core.spool import SpoolWriter, frame, read_frames, segments
from feedback import routes
from feedback.ingest import create_router, ingest
from serve.gateway.authentication import RequestPermit

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def asked(identity: str, **changes: Any) -> Interaction:
    fields: dict[str, Any] = {
        "id": identity,
        "time": NOW,
        "model": "m",
        "version": 0,
        "arm": "champion",
        "share": 0.0,
        "bucket": 0.5,
        "user": "u",
        "conversation": None,
        "endpoint": "chat",
        "request": {"messages": []},
        "answer": "a",
        "finish_reason": "stop",
        "status": 200,
        "latency_ms": 1.0,
        "ttft_ms": None,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "streamed": False,
    }
    return Interaction(**(fields | changes))


def said(identity: str, about: str, value: Any = True, kind: str = "thumbs") -> Feedback:
    return Feedback(identity, NOW, about, None, kind, value)


def pieces(*records: Record) -> bytes:
    return b"".join(frame(encode(record)) for record in records)


@pytest.fixture
def store() -> Any:
    store = Store(":memory:")
    yield store
    store.close()


def query(store: Store, sql: str) -> list[Any]:
    with store.transaction() as transaction:
        return transaction._connection.execute(sql).fetchall()


records = [asked("i1"), said("f1", "i1"), asked("i2"), Revocation("f2", NOW), said("f2", "i2"), asked("i3", user="ü\0")]
SEGMENT = pieces(*records)
STEP = st.tuples(st.integers(0, 1), st.integers(0, len(SEGMENT) + 5), st.integers(0, len(SEGMENT)))

TRAFFIC = "SELECT model, version, arm, day, requests, errors, tokens FROM traffic_daily ORDER BY ALL"


@settings(deadline=None, max_examples=20)
@given(st.lists(STEP, max_size=12))
def test_every_row_arrives_once_for_any_sequence_of_pieces(steps: list[tuple[int, int, int]]) -> None:
    store = Store(":memory:")
    for segment, offset, size in steps:  # repeated, overlapping, out of date, torn anywhere
        known = spools.offset(store, spool="g", segment=segment)
        taken, end = ingest(store, "g", segment, offset, SEGMENT[offset : offset + size])
        assert taken is (offset == known)
    for segment in (0, 1):  # a shipper that then does as it is told
        taken, end = False, 0
        while end < len(SEGMENT):
            _, end = ingest(store, "g", segment, end, SEGMENT[end:])
    assert query(store, "SELECT id FROM interactions ORDER BY id") == [("i1",), ("i2",), ("i3",)]
    assert query(store, "SELECT id, revoked_at IS NULL FROM feedback ORDER BY id") == [("f1", True), ("f2", False)]
    assert query(store, TRAFFIC) == [("m", 0, "champion", NOW.date(), 3, 0, 6)]
    assert query(store, "SELECT DISTINCT model, version FROM feedback") == [("m", 0)]
    assert query(store, "SELECT * FROM feedback_waiting") == []
    store.close()


def test_traffic_is_counted_by_model_version_arm_and_utc_day_with_errors_and_tokens(store: Store) -> None:
    late = NOW.replace(hour=23, tzinfo=timezone(timedelta(hours=-5)))
    ingest(store, "g", 0, 0, pieces(asked("a"), asked("b", time=late), asked("c", status=502, prompt_tokens=None)))
    ingest(store, "g", 1, 0, pieces(asked("b"), asked("d", version=1, arm="canary"), asked("e", status=404)))
    day = NOW.date()
    assert query(store, TRAFFIC) == [
        ("m", 0, "champion", day, 3, 1, 5),
        ("m", 0, "champion", day + timedelta(days=1), 1, 0, 2),
        ("m", 1, "canary", day, 1, 0, 2),
    ]


@pytest.mark.parametrize("first", ["vote", "interaction"])
def test_a_vote_knows_its_model_whichever_comes_first(store: Store, first: str) -> None:
    vote, interaction = pieces(said("f", "i"), said("lost", "nowhere")), pieces(asked("i", version=3))
    for segment, data in enumerate((vote, interaction) if first == "vote" else (interaction, vote)):
        ingest(store, "g", segment, 0, data)
    assert query(store, "SELECT id, model, version FROM feedback ORDER BY id") == [("f", "m", 3), ("lost", None, None)]
    assert query(store, "SELECT * FROM feedback_waiting") == [("nowhere", "lost")]
    since = feedback.count_since_last_run(store, model="m")
    assert since is not None and since["n"] == 1


def test_rows_and_offset_are_committed_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Transaction.run

    def run(self: Transaction, name: str, **parameters: Any) -> None:
        if name == "spools.set_offset":
            raise RuntimeError("killed")
        real(self, name, **parameters)

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "run", run)
        with pytest.raises(RuntimeError, match="killed"):
            ingest(store, "g", 1, 0, SEGMENT)
    assert query(store, "SELECT count(*) FROM interactions") == [(0,)]
    assert ingest(store, "g", 1, 0, SEGMENT) == (True, len(SEGMENT))


def test_a_torn_tail_waits_and_a_piece_from_elsewhere_is_told_where_to_go_on(store: Store) -> None:
    first = len(pieces(records[0]))
    assert ingest(store, "g", 1, 0, SEGMENT[: first + 3]) == (True, first)
    assert ingest(store, "g", 1, 0, SEGMENT) == (False, first)
    assert ingest(store, "g", 1, first + 1, SEGMENT[first + 1 :]) == (False, first)
    assert ingest(store, "g", 1, first, SEGMENT[first:]) == (True, len(SEGMENT))
    assert ingest(store, "other", 1, 0, SEGMENT) == (True, len(SEGMENT))  # the same ids from another gateway
    assert query(store, "SELECT count(*) FROM interactions") == [(3,)]


def letters(store: Store) -> list[Any]:
    return query(store, 'SELECT "offset", payload, reason FROM dead_letters ORDER BY segment, "offset"')


ODD = (b"[{}]", b'"text"', b"{}", b'{"kind":"interaction"}', b"\xff", b'{"kind":["x"]}')


def test_a_frame_that_is_no_record_is_set_aside_and_the_rest_arrives(store: Store) -> None:
    data = b"".join(map(frame, ODD)) + pieces(asked("i1"))
    assert ingest(store, "g", 1, 0, data) == (True, len(data))
    assert query(store, "SELECT id FROM interactions") == [("i1",)]
    assert [payload for _, payload, _ in letters(store)] == list(ODD)


REFUSED: list[Record] = [
    asked("bad", version="seven"),
    asked("bad", prompt_tokens=2**40),
    asked("bad", latency_ms=None),
    asked("bad", time=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9)))),
    Feedback("bad", NOW, "i", None, None, 1),
]


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_record_that_the_store_refuses_is_set_aside_whole_and_the_rest_arrives(
    store: Store, refused: Record, place: int
) -> None:
    listed = [*records[:place], refused, *records[place:]]
    data, before = pieces(*listed), len(pieces(*listed[:place]))
    assert ingest(store, "g", 1, 0, data) == (True, len(data))
    ((offset, payload, reason),) = letters(store)
    assert (offset, payload) == (before, encode(refused)) and reason.startswith("RowRefused: The store refuses a row")
    assert query(store, "SELECT id FROM interactions ORDER BY id") == [("i1",), ("i2",), ("i3",)]
    assert query(store, "SELECT id, revoked_at IS NULL FROM feedback ORDER BY id") == [("f1", True), ("f2", False)]
    assert ingest(store, "g", 1, 0, data) == (False, len(data))
    assert len(letters(store)) == 1


def test_a_store_that_fails_takes_nothing_and_sets_nothing_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise duckdb.IOException("Could not write file: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("core.db.store.Transaction.run_many", fail)
        with pytest.raises(duckdb.IOException):
            ingest(store, "g", 1, 0, SEGMENT)
    assert letters(store) == [] and spools.offset(store, spool="g", segment=1) == 0
    assert ingest(store, "g", 1, 0, SEGMENT) == (True, len(SEGMENT))


ACTS = st.sampled_from(["write", "write", "ship", "ship", "control restarts", "gateway restarts", "folder emptied"])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(ACTS, st.integers(0, 400), st.integers(-3, 3)), max_size=25))
def test_every_row_arrives_once_and_in_order_whatever_restarts_and_however_the_clock_jumps(
    acts: list[tuple[str, int, int]],
) -> None:
    now = time.time_ns()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, path = Path(name) / "spool", Path(name) / "store.duckdb"
        store, writer, written = Store(path), SpoolWriter(folder, segment_bytes=150), 0

        def ship(size: int) -> None:
            """What a shipper that was just started does, down to a piece that is cut anywhere."""
            for segment in segments(folder):
                _, end = ingest(store, "g", segment.number, 1_000_000, b"")
                text = segment.path.read_bytes()
                ingest(store, "g", segment.number, end, text[end : end + size])

        for reading, (act, size, hours) in enumerate(acts, 1):
            patch.setattr("core.spool.time.time_ns", lambda at=now + hours * 3600 * 10**9 + reading * 1000: at)
            if act == "write":
                writer.append(encode(said(f"f{written:03d}", "i")))
                written += 1
            elif act == "ship":
                ship(size)
            elif act == "control restarts":
                store.close()
                store = Store(path)
            else:
                ship(10**6)
                writer.close()
                if act == "folder emptied":  # of what has been taken in, as a new disk is
                    shutil.rmtree(folder)
                writer = SpoolWriter(folder, segment_bytes=150)
        ship(10**6)
        assert query(store, "SELECT id FROM feedback ORDER BY rowid") == [(f"f{n:03d}",) for n in range(written)]
        assert letters(store) == []
        writer.close()
        store.close()


def test_a_revocation_may_come_before_its_feedback(store: Store) -> None:
    ingest(store, "g", 1, 0, pieces(Revocation("f1", NOW + timedelta(hours=1))))
    ingest(store, "g", 2, 0, pieces(said("f1", "i1"), said("f2", "i1")))
    assert query(store, "SELECT id, revoked_at FROM feedback ORDER BY id") == [
        ("f1", datetime(2026, 3, 1, 4, 0)),
        ("f2", None),
    ]


def test_a_second_revocation_does_not_move_the_first(store: Store) -> None:
    ingest(store, "g", 1, 0, pieces(said("f1", "i1"), Revocation("f1", NOW)))
    ingest(store, "g", 2, 0, pieces(Revocation("f1", NOW + timedelta(hours=1)), said("f1", "i1")))
    assert query(store, "SELECT revoked_at FROM feedback") == [(NOW.replace(tzinfo=None),)]


def test_of_one_id_the_first_stands_in_one_piece_too(store: Store) -> None:
    later = NOW + timedelta(hours=1)
    ingest(
        store,
        "g",
        1,
        0,
        pieces(
            asked("i1", answer="first"),
            said("f1", "i1", True),
            Revocation("f1", NOW),
            asked("i1", answer="second"),
            said("f1", "i1", False),
            Revocation("f1", later),
        ),
    )
    assert query(store, "SELECT id, answer FROM interactions") == [("i1", "first")]
    assert query(store, "SELECT id, value, revoked_at FROM feedback") == [("f1", "true", NOW.replace(tzinfo=None))]
    assert query(store, TRAFFIC) == [("m", 0, "champion", NOW.date(), 1, 0, 2)]


def test_a_piece_costs_as_many_statements_whatever_it_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for, real = [], Transaction._execute

    def counted(self: Transaction, name: str, parameters: dict[str, Any]) -> Any:
        asked_for.append(name)
        return real(self, name, parameters)

    monkeypatch.setattr(Transaction, "_execute", counted)
    numbers = []
    for segment, size in enumerate((1, 200)):
        ids = [f"{segment}-{n}" for n in range(size)]
        early = [said(f"e{i}", i) for i in ids]
        ingest(store, "g", 2 * segment, 0, pieces(*early, *(Revocation(f"l{i}", NOW) for i in ids)))
        asked_for.clear()
        ingest(store, "g", 2 * segment + 1, 0, pieces(*map(asked, ids), *(said(f"l{i}", i) for i in ids)))
        numbers.append(len(asked_for))
    assert numbers[0] == numbers[1] > 5
    assert query(store, "SELECT count(*), count(revoked_at) FROM feedback WHERE model = 'm'") == [(402, 201)]


def test_feedback_before_its_interaction_joins_later(store: Store) -> None:
    ingest(store, "g", 1, 0, pieces(said("f1", "i1")))
    assert feedback.by_type(store, model="m") == []
    assert feedback.counts(store, model=None, key=None)[0]["model"] is None
    ingest(store, "g", 1, len(pieces(said("f1", "i1"))), pieces(asked("i1")))
    assert feedback.by_type(store, model="m") == [{"type": "thumbs", "n": 1}]


def test_the_route_takes_a_piece_and_answers_with_the_offset(store: Store) -> None:
    app = FastAPI()
    app.include_router(create_router(store))
    client = TestClient(app)
    answer = client.post("/internal/spool/gateway-1/7?offset=0", content=SEGMENT)
    assert (answer.status_code, answer.json()) == (200, {"offset": len(SEGMENT)})
    again = client.post("/internal/spool/gateway-1/7?offset=0", content=SEGMENT)
    assert (again.status_code, again.json()) == (409, {"offset": len(SEGMENT)})
    assert client.post("/internal/spool/gateway-1/seven?offset=0", content=b"").status_code == 422


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
