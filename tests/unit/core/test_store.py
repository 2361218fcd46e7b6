"""Facts about the store and the ledger in it."""

import os
import resource
import signal
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import core
from core import ledger
from core.clock import utc_now
from core.db import evaluations, exports, feedback, runs, spools, versions
from core.db.store import Store
from core.errors import NotReady, StoreError, StoreNewer
from core.model_folder import ModelFolder
from core.settings import build
from feedback import ingest
from ops.apps.control import assemble
from tests.support.ingest import asked
from tests.support.store import NOW, decision

MIGRATIONS = [int(file.name[:4]) for file in (Path(core.__file__).parent / "db" / "migrations").glob("*.sql")]
NEWEST = max(MIGRATIONS)


def add_version(transaction: Any, version: int) -> None:
    versions.add(
        transaction,
        model="m",
        version=version,
        engine_name=f"m-{version}",
        path=None,
        sha256=None,
        rank=0,
        run_id=None,
        time=NOW,
        kind="base",
    )


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path / "loraloop.duckdb")
    yield store
    store.close()


def test_a_migration_is_done_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "loraloop.duckdb"
    for number in range(3):
        store = Store(path)
        spools.advance(store, spool="g", segment=number, begin=0, end=1)
        store.close()
    with duckdb.connect(str(path)) as connection:
        found = connection.execute("SELECT count(*), max(version) FROM schema_version").fetchall()
        assert found == [(len(MIGRATIONS), NEWEST)]
        assert connection.execute("SELECT count(*) FROM spool_offsets").fetchall() == [(3,)]


def test_what_the_console_counts_is_counted_of_old_rows_too(tmp_path: Path) -> None:
    path, folder = tmp_path / "loraloop.duckdb", Path(core.__file__).parent / "db" / "migrations"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version FROM range(1, 8)")
        for file in sorted(folder.glob("000[1-7]_*.sql")):
            connection.execute(file.read_text())
        for number, status in enumerate((200, 502)):
            connection.execute(
                "INSERT INTO interactions (id, time, model, version, arm, share, endpoint, status, latency_ms, "
                "streamed, prompt_tokens) "
                "VALUES (?, '2026-03-01 23:59:00', 'm', 2, 'champion', 0, 'chat', ?, 1, FALSE, 5)",
                [f"i{number}", status],
            )
        for identity, about in (("f1", "i1"), ("f2", "nowhere"), ("f3", None)):
            connection.execute(
                "INSERT INTO feedback (id, time, interaction_id, type, value, metadata) "
                "VALUES (?, '2026-03-01', ?, 'thumbs', 'true', '{}')",
                [identity, about],
            )
        connection.execute("INSERT INTO revocations VALUES ('f3', '2026-03-02')")
    Store(path).close()
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT feedback_id, key_id FROM revocations").fetchall() == [("f3", "")]
        assert connection.execute("SELECT * FROM traffic_daily").fetchall() == [
            ("m", 2, "champion", date(2026, 3, 1), 2, 1, 10)
        ]
        assert connection.execute("SELECT * FROM usage_daily").fetchall() == [("m", "", date(2026, 3, 1), 2, 1, 10, 0)]
        found = connection.execute("SELECT id, model, version FROM feedback ORDER BY id").fetchall()
        assert found == [("f1", "m", 2), ("f2", None, None), ("f3", None, None)]
        assert connection.execute("SELECT * FROM feedback_waiting").fetchall() == [("nowhere", "f2")]


def test_use_of_deleted_interactions_is_counted_of_old_stores_too(tmp_path: Path) -> None:
    path, folder = tmp_path / "loraloop.duckdb", Path(core.__file__).parent / "db" / "migrations"
    day, before = date(2026, 3, 1), [number for number in MIGRATIONS if number < 65]
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.executemany("INSERT INTO schema_version VALUES (?)", [[number] for number in before])
        for file in sorted(folder.glob("*.sql")):
            if int(file.name[:4]) in before:
                connection.execute(file.read_text())
        connection.execute("INSERT INTO traffic_daily VALUES ('m', 1, 'champion', ?, 9, 3, 90)", [day])
        connection.execute("INSERT INTO traffic_daily VALUES ('old', 1, 'champion', ?, 2, 0, 20)", [day])
        connection.execute(
            "INSERT INTO interactions (id, time, model, version, arm, share, endpoint, status, latency_ms, streamed, "
            "prompt_tokens, completion_tokens, key_id) "
            "SELECT 'i' || n, '2026-03-01', 'm', 1, 'champion', 0, 'chat', 502, 1, FALSE, 7, 3, "
            "CASE n WHEN 0 THEN 'shop' END FROM range(2) numbers(n)"
        )
    Store(path).close()
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT * FROM usage_daily ORDER BY ALL").fetchall() == [
            ("m", "", day, 8, 2, 77, 3),  # one stored, seven deleted
            ("m", "shop", day, 1, 1, 7, 3),
            ("old", "", day, 2, 0, 20, 0),
        ]


def test_whom_earlier_evaluations_asked_is_known_of_old_stores_too(tmp_path: Path) -> None:
    path, folder = tmp_path / "loraloop.duckdb", Path(core.__file__).parent / "db" / "migrations"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version FROM range(1, 10)")
        for file in sorted(folder.glob("000*.sql")):
            connection.execute(file.read_text())
        asked = (("i1", "ann", "c1"), ("i2", "", "c2"), ("i3", None, None), ("i4", "bob", None))
        for identity, user, conversation in asked:
            connection.execute(
                "INSERT INTO interactions (id, time, model, version, arm, share, endpoint, status, latency_ms, "
                "streamed, user_id, conversation_id) "
                "VALUES (?, '2026-03-01', 'm', 0, 'champion', 0, 'chat', 200, 1, FALSE, ?, ?)",
                [identity, user, conversation],
            )
            bucket = "h2" if identity == "i4" else "h1"
            connection.execute("INSERT INTO snapshot_rows VALUES ('s', ?, ?, ?)", [identity, f"f-{identity}", bucket])
        for run in ("r1", "r2"):
            connection.execute(
                "INSERT INTO runs (id, model, trigger, state, started, feedback_until, snapshot, detail) "
                "VALUES (?, 'm', 't', 'finished', '2026-03-01', '2026-03-01', 's', '{}')",
                [run],
            )
            connection.execute("INSERT INTO holdout_uses VALUES ('m', 'h1', ?, ?)", [run, int(run[1])])
    opened = Store(path)
    found = {(row.holdout, row.user) for row in evaluations.holdout_users(opened, model="m")}
    assert found == {("h1", "user:ann"), ("h1", "conversation:c2"), ("h1", "interaction:i3")}
    opened.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "loraloop.duckdb"
    Store(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(StoreNewer, match=f"schema 99, but this LoraLoop supports schemas up to {NEWEST}\\.") as caught:
        Store(path)
    assert "Upgrade" in caught.value.hint
    with duckdb.connect(str(path)) as connection:  # the refusal let go of the file
        assert connection.execute("SELECT max(version) FROM schema_version").fetchall() == [(99,)]


def test_a_file_that_is_no_store_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "loraloop.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(path)


def test_a_transaction_takes_effect_as_a_whole_or_not_at_all(store: Store) -> None:
    class Halt(Exception):
        pass

    with pytest.raises(Halt), store.transaction() as transaction:  # noqa: PT012 — the halt comes last
        add_version(transaction, 1)
        assert len(versions.of_model(transaction, model="m")) == 1
        raise Halt
    assert versions.of_model(store, model="m") == []


def test_a_refused_statement_undoes_its_transaction_and_the_store_goes_on(store: Store) -> None:
    with store.transaction() as transaction:
        add_version(transaction, 1)
    with pytest.raises(duckdb.ConstraintException), store.transaction() as transaction:  # noqa: PT012
        add_version(transaction, 2)
        add_version(transaction, 1)
    with store.transaction() as transaction:
        add_version(transaction, 3)
    assert [row["version"] for row in versions.of_model(store, model="m")] == [1, 3]


def test_readers_see_nothing_of_an_open_transaction(store: Store) -> None:
    with store.transaction() as transaction:
        add_version(transaction, 1)
        assert versions.find(store, model="m", version=1) is None
    assert versions.find(store, model="m", version=1) is not None


def test_writers_in_many_threads_wait_for_each_other(store: Store) -> None:
    def write(first: int) -> None:
        for number in range(first, first + 10):
            with store.transaction() as transaction:
                ledger.append(transaction, decision(number))

    threads = [threading.Thread(target=write, args=(n * 10,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = ledger.verify_store(store)
    assert report.ok and report.rows == 40


@settings(deadline=None, max_examples=20)
@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)), st.integers(-12, 12))
def test_a_time_is_read_back_as_the_same_moment_in_utc(naive: datetime, hours: int) -> None:
    time = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    store = Store(":memory:")
    with store.transaction() as transaction:
        feedback.add_revocations(transaction, [{"feedback_id": "f", "key_id": "", "time": time, "asked": "f"}])
    with store.transaction() as transaction:
        found = transaction._connection.execute("SELECT time FROM revocations").fetchone()
    store.close()
    assert found and found[0].replace(tzinfo=UTC) == time


def test_the_first_answer_to_a_query_is_kept(store: Store) -> None:
    evaluations.add_answers(store, keys=["a", "b", "a"], time=NOW, names=["e"] * 3, answers=["1", "2", "3"])
    evaluations.add_answers(store, keys=["b", "c"], time=NOW, names=["e"] * 2, answers=["4", "5"])
    found = evaluations.known_answers(store, keys=["a", "b", "c", "d"])
    assert {one.key: one.answer for one in found} == {"a": "1", "b": "2", "c": "5"}


def test_a_checkpoint_that_met_a_full_disk_is_reported_and_a_new_process_has_every_committed_row(
    tmp_path: Path,
) -> None:
    reported: list[bool] = []
    store = Store(tmp_path / "loraloop.duckdb", fatal=lambda: reported.append(True))
    for number in range(200):
        spools.advance(store, spool="g" * 300, segment=number, begin=0, end=1)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (13_000, usual[1]))
    try:
        with pytest.raises(duckdb.FatalException):
            store._connection.execute("CHECKPOINT")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not reported
    with pytest.raises(duckdb.FatalException):
        spools.offset(store, spool="g", segment=1)
    assert reported
    with pytest.raises(duckdb.FatalException):
        spools.advance(store, spool="g", segment=1, begin=0, end=2)
    assert len(reported) == 2
    store.close()
    again = Store(tmp_path / "loraloop.duckdb")
    assert [spools.offset(again, spool="g" * 300, segment=n) for n in (0, 199)] == [1, 1]
    again.close()


def test_control_ends_when_only_a_new_process_can_use_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *which: ended.append(which))
    content = build({"data": str(tmp_path), "models": {"m": {"labels": ["a", "b"]}}})
    control = assemble(content, ModelFolder("base", tmp_path), utc_now)

    def fail(*_: object) -> None:
        raise duckdb.FatalException("database has been invalidated")

    with monkeypatch.context() as patch:
        patch.setattr("core.db.store.Transaction.rows", fail)
        with pytest.raises(duckdb.FatalException):
            runs.unfinished(control.store)
    assert ended == [(os.getpid(), signal.SIGTERM)]
    control.store.close()


def test_a_rewritten_file_has_no_byte_of_deleted_rows_and_the_store_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    with store.transaction() as transaction:
        # Hashes do not compress, so that the words can be found in the file.
        transaction._connection.execute(
            "CREATE TABLE kept AS SELECT range AS n, md5(range::VARCHAR) ||"
            " CASE WHEN range % 100 = 7 THEN ' secret word' ELSE '' END AS said FROM range(20000)"
        )
    store._connection.execute("CHECKPOINT")
    with store.transaction() as transaction:
        transaction._connection.execute("DELETE FROM kept WHERE n % 100 = 7")
    store._connection.execute("CHECKPOINT")
    assert b"secret word" in (tmp_path / "s.duckdb").read_bytes()  # a checkpoint is not enough
    store.rewrite()
    assert b"secret word" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["s.duckdb"]
    with store.transaction() as transaction:
        assert transaction._connection.execute("SELECT count(*) FROM kept").fetchall() == [(19_800,)]
    store.close()
    Store(tmp_path / "s.duckdb").close()


def test_readers_and_writers_wait_while_the_file_is_exchanged_and_lose_nothing(tmp_path: Path) -> None:
    store, failed, done = Store(tmp_path / "s.duckdb"), [], threading.Event()
    written = [0]

    def use() -> None:
        try:
            while not done.is_set():
                spools.advance(store, spool="g", segment=written[0], begin=0, end=1)
                written[0] += 1
                with store.transaction() as transaction:  # a reader within a writer
                    assert spools.seen(store)[0]["segments"] == spools.seen(transaction)[0]["segments"] == written[0]
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    for _ in range(3):
        store.rewrite()
    done.set()
    thread.join()
    assert failed == [] and spools.seen(store)[0]["segments"] == written[0] > 0
    store.close()


def test_a_read_that_does_not_end_stops_a_rewrite_and_no_writer(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.duckdb")
    store.longest_wait_s = 0.01
    for segment in (1, 2):
        spools.advance(store, spool="g", segment=segment, begin=0, end=1)
    ingest.add(store, [asked("a"), asked("b")])
    reading = exports.interactions(store, 1, model=None)
    next(reading)
    with pytest.raises(NotReady, match="long read"):
        store.rewrite()
    spools.advance(store, spool="g", segment=3, begin=0, end=1)
    reading.close()  # pyright: ignore[reportAttributeAccessIssue]
    store.rewrite()
    assert spools.seen(store)[0]["segments"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["s.duckdb"]
    store.close()
