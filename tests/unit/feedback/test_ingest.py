"""Facts about ingest: each row exactly once, for any order and number of deliveries of the pieces."""

import json
import shutil
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from core.db import feedback, spools
from core.db import store as store_module
from core.db.store import Store, Transaction
from core.record_codec import Record, encode
from core.records import Feedback, Revocation
from core.spool import SpoolWriter, frame, segments
from feedback import ingest as ingest_module
from feedback.ingest import Ingested, create_router, ingest
from tests.support.ingest import NOW, asked, pieces, query, records, said


@pytest.fixture
def store() -> Any:
    store = Store(":memory:")
    yield store
    store.close()


SEGMENT = pieces(*records)
STEP = st.tuples(st.integers(0, 1), st.integers(0, len(SEGMENT) + 5), st.integers(0, len(SEGMENT)))
TRAFFIC = "SELECT model, version, arm, day, requests, errors, tokens FROM traffic_daily ORDER BY ALL"


@settings(deadline=None, max_examples=20)
@given(st.lists(STEP, max_size=12))
def test_every_row_arrives_once_for_any_sequence_of_pieces(steps: list[tuple[int, int, int]]) -> None:
    store = Store(":memory:")
    for segment, offset, size in steps:  # repeated, overlapping, out of date, torn anywhere
        known = spools.offset(store, spool="g", segment=segment)
        found = ingest(store, "g", segment, offset, SEGMENT[offset : offset + size])
        assert found.taken is (offset == known)
    for segment in (0, 1):  # a shipper that then follows the answers
        end = 0
        while end < len(SEGMENT):
            end = ingest(store, "g", segment, end, SEGMENT[end:]).offset
    assert query(store, "SELECT id FROM interactions ORDER BY id") == [("i1",), ("i2",), ("i3",)]
    assert query(store, "SELECT id, revoked_at IS NULL FROM feedback ORDER BY id") == [("f1", True), ("f2", False)]
    assert query(store, TRAFFIC) == [("m", 0, "champion", NOW.date(), 3, 0, 6)]
    assert query(store, "SELECT * FROM usage_daily") == [("m", "", NOW.date(), 3, 0, 3, 3)]
    assert query(store, "SELECT DISTINCT model, version FROM feedback") == [("m", 0)]
    assert query(store, "SELECT * FROM feedback_waiting") == []
    store.close()


def test_a_mark_is_stored_and_a_record_of_an_older_gateway_has_none(store: Store) -> None:
    old = json.loads(encode(asked("old")))
    assert old.pop("asked") is False
    ingest(store, "g", 0, 0, frame(json.dumps(old).encode()) + pieces(asked("new"), asked("drawn", asked=True)))
    assert query(store, "SELECT id, asked FROM interactions ORDER BY id") == [
        ("drawn", True),
        ("new", False),
        ("old", False),
    ]


def test_a_row_is_the_same_as_parameters_and_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        asked("i1", user="ü\0", answer=None, prompt_tokens=None, request={"messages": [{"content": "\0 \u2028"}]}),
        replace(asked("i2"), status=500, time=NOW.replace(year=1), conversation="c", choices=[{"index": 0}]),
        replace(said("f1", "i1", {"chosen": "i1", "rejected": "i2"}, "preference"), time=NOW.replace(year=9999)),
        replace(said("f2", "i2", 'it\'s \0 "quoted"', "correction"), comment="?", user="$1", metadata={"a": [1, None]}),
        replace(said("f3", "i9", 0.5, "rating"), choice=0, key_id="k"),
    ]
    found = []
    for few in (0, 2):
        monkeypatch.setattr(store_module, "FEW_ROWS", few)
        store = Store(":memory:")
        for segment, record in enumerate(records):
            assert ingest(store, "g", segment, 0, pieces(record)).taken
        tables = ("interactions", "feedback", "feedback_waiting", "dead_letters")
        found.append(
            [query(store, f"SELECT * FROM {table} ORDER BY ALL") for table in tables] + [query(store, TRAFFIC)]
        )
        found[-1][1] = query(store, "SELECT * EXCLUDE arrived FROM feedback ORDER BY id")
        store.close()
    assert found[0] == found[1] and [len(rows) for rows in found[0]][:2] == [2, 3] and not found[0][3]


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
def test_a_vote_gets_its_model_in_either_order_of_arrival(store: Store, first: str) -> None:
    vote, interaction = pieces(said("f", "i"), said("lost", "nowhere")), pieces(asked("i", version=3))
    for segment, data in enumerate((vote, interaction) if first == "vote" else (interaction, vote)):
        ingest(store, "g", segment, 0, data)
    assert query(store, "SELECT id, model, version FROM feedback ORDER BY id") == [("f", "m", 3), ("lost", None, None)]
    assert query(store, "SELECT * FROM feedback_waiting") == [("nowhere", "lost")]
    assert feedback.newest_arrival(store, model="m") is not None


def test_rows_and_offset_are_committed_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Transaction.run

    def run(self: Transaction, name: str, **parameters: Any) -> None:
        if name == "spools.add_offset":
            raise RuntimeError("killed")
        real(self, name, **parameters)

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "run", run)
        with pytest.raises(RuntimeError, match="killed"):
            ingest(store, "g", 1, 0, SEGMENT)
    assert query(store, "SELECT count(*) FROM interactions") == [(0,)]
    assert ingest(store, "g", 1, 0, SEGMENT) == Ingested(True, len(SEGMENT))


def test_a_torn_tail_waits_and_a_piece_from_elsewhere_gets_the_offset_to_continue_at(store: Store) -> None:
    first = len(pieces(records[0]))
    assert ingest(store, "g", 1, 0, SEGMENT[: first + 3]) == Ingested(True, first)
    assert ingest(store, "g", 1, 0, SEGMENT) == Ingested(False, first)
    assert ingest(store, "g", 1, first + 1, SEGMENT[first + 1 :]) == Ingested(False, first)
    assert ingest(store, "g", 1, first, SEGMENT[first:]) == Ingested(True, len(SEGMENT))
    assert ingest(store, "other", 1, 0, SEGMENT) == Ingested(True, len(SEGMENT))  # the same ids from another gateway
    assert query(store, "SELECT count(*) FROM interactions") == [(3,)]


def letters(store: Store) -> list[Any]:
    return query(store, 'SELECT "offset", payload, reason FROM dead_letters ORDER BY segment, "offset"')


ODD = (b"[{}]", b'"text"', b"{}", b'{"kind":"interaction"}', b"\xff", b'{"kind":["x"]}')


def test_a_frame_that_is_no_record_is_set_aside_and_the_rest_arrives(store: Store) -> None:
    data = b"".join(map(frame, ODD)) + pieces(asked("i1"))
    assert ingest(store, "g", 1, 0, data) == Ingested(True, len(data))
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
    assert ingest(store, "g", 1, 0, data) == Ingested(True, len(data))
    ((offset, payload, reason),) = letters(store)
    assert (offset, payload) == (before, encode(refused)) and reason.startswith("RowRefused: ")
    assert query(store, "SELECT id FROM interactions ORDER BY id") == [("i1",), ("i2",), ("i3",)]
    assert query(store, "SELECT id, revoked_at IS NULL FROM feedback ORDER BY id") == [("f1", True), ("f2", False)]
    assert ingest(store, "g", 1, 0, data) == Ingested(False, len(data))
    assert len(letters(store)) == 1


def test_a_store_that_fails_takes_nothing_and_sets_nothing_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise duckdb.IOException("Could not write file: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("core.db.store.Transaction.run_table", fail)
        with pytest.raises(duckdb.IOException):
            ingest(store, "g", 1, 0, SEGMENT)
    assert letters(store) == [] and spools.offset(store, spool="g", segment=1) == 0
    assert ingest(store, "g", 1, 0, SEGMENT) == Ingested(True, len(SEGMENT))


ACTS = st.sampled_from(["write", "write", "ship", "ship", "control restarts", "gateway restarts", "folder emptied"])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(ACTS, st.integers(0, 400), st.integers(-3, 3)), max_size=25))
def test_every_row_arrives_once_and_in_order_through_restarts_and_clock_jumps(
    acts: list[tuple[str, int, int]],
) -> None:
    now = time.time_ns()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, path = Path(name) / "spool", Path(name) / "store.duckdb"
        store, writer, written = Store(path), SpoolWriter(folder, segment_bytes=150), 0

        def ship(size: int) -> None:
            """What a shipper that was just started does, down to a piece that is cut anywhere."""
            for segment in segments(folder):
                end = ingest(store, "g", segment.number, 1_000_000, b"").offset
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
                if act == "folder emptied":  # of what was ingested, as a new disk is
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


def test_the_time_of_a_revocation_does_not_depend_on_the_zone_of_the_machine(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        ingest(store, "g", 1, 0, pieces(said("f1", "i1"), Revocation("f1", NOW)))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert query(store, "SELECT revoked_at FROM feedback") == [(NOW.replace(tzinfo=None),)]


def test_a_second_revocation_does_not_move_the_first(store: Store) -> None:
    ingest(store, "g", 1, 0, pieces(said("f1", "i1"), Revocation("f1", NOW)))
    ingest(store, "g", 2, 0, pieces(Revocation("f1", NOW + timedelta(hours=1)), said("f1", "i1")))
    assert query(store, "SELECT revoked_at FROM feedback") == [(NOW.replace(tzinfo=None),)]


def test_of_one_id_the_first_interaction_and_the_last_word_count_in_one_piece_too(store: Store) -> None:
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
            replace(said("f1", "i1", False), time=later),
            Revocation("f1", later),
        ),
    )
    assert query(store, "SELECT id, answer FROM interactions") == [("i1", "first")]
    assert query(store, "SELECT id, value, revoked_at FROM feedback") == [("f1", "false", later.replace(tzinfo=None))]
    assert query(store, TRAFFIC) == [("m", 0, "champion", NOW.date(), 1, 0, 2)]


def test_the_number_of_statements_does_not_depend_on_the_size_of_a_piece(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for, statements = [], store_module._statements()

    class Counted(dict[str, str]):
        def __getitem__(self, name: str) -> str:
            asked_for.append(name)
            return super().__getitem__(name)

    monkeypatch.setattr(store_module, "_statements", lambda: Counted(statements))
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
    assert feedback.counts(store, model="m", key=None) == []
    assert feedback.counts(store, model=None, key=None)[0]["model"] is None
    ingest(store, "g", 1, len(pieces(said("f1", "i1"))), pieces(asked("i1")))
    assert [(row["type"], row["n"]) for row in feedback.counts(store, model="m", key=None)] == [("thumbs", 1)]


def test_the_route_takes_a_piece_and_answers_with_the_offset(store: Store) -> None:
    app = FastAPI()
    app.include_router(create_router(store))
    client = TestClient(app)
    answer = client.post("/internal/spool/gateway-1/7?offset=0", content=SEGMENT)
    assert (answer.status_code, answer.json()) == (200, {"offset": len(SEGMENT), "damaged": 0})
    again = client.post("/internal/spool/gateway-1/7?offset=0", content=SEGMENT)
    assert (again.status_code, again.json()) == (409, {"offset": len(SEGMENT), "damaged": 0})
    assert client.post("/internal/spool/gateway-1/seven?offset=0", content=b"").status_code == 422


def test_duckdb_has_one_thread_for_a_large_piece_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real, found = ingest_module.ingest, []

    def noted(*args: Any, **named: Any) -> Ingested:
        found.append(query(store, "SELECT current_setting('threads')")[0][0])
        return real(*args, **named)

    monkeypatch.setattr(ingest_module, "ingest", noted)
    monkeypatch.setattr(ingest_module, "BULK", len(SEGMENT))
    query(store, "SET threads = 3")
    app = FastAPI()
    app.include_router(create_router(store))
    client = TestClient(app)
    for segment, data in enumerate((SEGMENT[:-1], SEGMENT)):
        assert client.post(f"/internal/spool/g/{segment}?offset=0", content=data).status_code == 200
    assert found == [3, 1]
    assert query(store, "SELECT count(*) FROM interactions") == [(3,)]
