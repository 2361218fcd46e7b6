"""Facts about the audit log: its chain, what breaks it, and its deletion by age."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import audit_log
from core.acts import Act
from core.audit_log import HEAD, LONGEST_TEXT, RETENTION, Entry, append, begins_after, verify_store
from core.chain_head import read
from core.db import audit_log as table
from core.db.audit_log import Filter
from core.db.decisions import LedgerHead
from core.db.retention import Piece
from core.db.store import Store
from core.hash_chain import GENESIS
from feedback.retention import delete_rows

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)


def entry(number: int, **changes: object) -> Entry:
    plain = {"time": NOW + number * DAY, "act": Act.KEYS_CREATE, "actor": "ada (key 1)", "thing": f"key-{number}"}
    return Entry(**(plain | changes))  # type: ignore[arg-type]


def add(store: Store, *entries: Entry) -> None:
    with store.transaction() as transaction:
        append(transaction, entries)


def run(store: Store, sql: str) -> None:
    with store.transaction() as transaction:
        transaction._connection.execute(sql)


def expire_and_fail(store: Store) -> None:
    with store.transaction() as transaction:
        assert audit_log.expire(transaction, Piece(NOW, NOW + 9 * DAY, NOW + 9 * DAY, NOW)) == 5
        raise RuntimeError


def rows(store: Store, **wanted: object) -> list[str]:
    return [row["object"] for row in table.page(store, Filter(**wanted), limit=100)]  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "loraloop.duckdb")
    for number in range(1, 6):
        add(made, entry(number))
    yield made
    made.close()


def test_a_log_that_nobody_touched_is_whole_and_its_head_is_beside_the_store(store: Store) -> None:
    report = verify_store(store)
    assert report.ok and report.rows == 5 and report.reason == "5 rows, each follows from the one before."
    assert read(HEAD.beside(store.path)) == table.head(store)
    add(store, entry(6), entry(7))  # several rows at once
    assert verify_store(store, after=report).rows == verify_store(store).rows == 7


@pytest.mark.parametrize(
    "column",
    ["actor", "address", "route", "object", "outcome", "model", "act", "request_id"],
)
def test_each_column_is_part_of_the_hash(store: Store, column: str) -> None:
    run(store, f"UPDATE audit_log SET {column} = 'else' WHERE seq = 3")
    assert verify_store(store).reason.startswith("Row 3 ") and not verify_store(store).ok


@pytest.mark.parametrize("change", ["status = 1", "n = 2", "time = time + INTERVAL 1 SECOND"])
def test_times_and_numbers_are_part_of_the_hash(store: Store, change: str) -> None:
    run(store, f"UPDATE audit_log SET {change} WHERE seq = 3")
    assert not verify_store(store).ok


@pytest.mark.parametrize(("sql", "said"), [("seq = 3", "missing before it"), ("seq > 3", "newest rows were cut off")])
def test_rows_that_are_missing_are_found(store: Store, sql: str, said: str) -> None:
    run(store, f"DELETE FROM audit_log WHERE {sql}")
    assert said in verify_store(store).reason and not verify_store(store).ok


def test_a_beginning_that_was_deleted_by_hand_is_found(store: Store) -> None:
    run(store, "DELETE FROM audit_log WHERE seq <= 2")
    assert verify_store(store).reason == "Row 3 (keys.create): a row is missing before it; expected number 1."


def test_old_rows_go_by_age_with_a_row_that_says_where_the_log_begins(store: Store) -> None:
    last = table.hash_at(store, seq=3)
    assert sum(delete_rows(store, "audit_log", 2, NOW + 5 * DAY + DAY / 2)) == 3
    assert rows(store) == [f"3 {last}", "key-5", "key-4"]
    (newest, *_) = table.page(store, Filter(), limit=1)
    assert (newest["act"], newest["actor"]) == ("audit.expire", RETENTION)
    report = verify_store(store)
    assert report.ok and report.rows == 6 and report.reason.endswith("Rows up to 3 were deleted by age.")
    run(store, "DELETE FROM audit_log WHERE seq = 4")
    assert not verify_store(store).ok


def test_a_log_whose_rows_are_all_old_is_whole_after_each_deletion(store: Store) -> None:
    earlier = verify_store(store)
    for days in (100, 200):
        assert sum(delete_rows(store, "audit_log", 30, NOW + days * DAY)) > 0
        assert verify_store(store).ok and len(rows(store)) == 1
    assert verify_store(store, after=earlier).ok  # a check that goes on from rows that are deleted now
    assert sum(delete_rows(store, "audit_log", 30, NOW + 201 * DAY)) == 0
    assert sum(delete_rows(store, "audit_log", None, NOW + 999 * DAY)) == 0


def test_a_row_that_came_late_goes_with_the_rows_around_it(store: Store) -> None:
    add(store, entry(1, thing="late"), entry(7), entry(8))
    assert sum(delete_rows(store, "audit_log", 1, NOW + 8 * DAY)) == 6
    assert verify_store(store).ok and rows(store)[-1] == "key-7"


@pytest.mark.parametrize("marker", ["x", "", "3", "-1 " + "0" * 64, "9 " + "0" * 64, "0 " + "0" * 64, "3 " + "g" * 64])
def test_a_row_of_a_deletion_that_cannot_be_read_breaks_the_log(store: Store, marker: str) -> None:
    assert sum(delete_rows(store, "audit_log", 2, NOW + 5 * DAY + DAY / 2)) == 3
    run(store, f"UPDATE audit_log SET object = '{marker}' WHERE act = 'audit.expire'")
    report = verify_store(store)
    assert not report.ok and report.reason.startswith("Row 6 (audit.expire): it must say which rows were deleted")
    assert report.broken and report.broken.seq == 6


def test_a_row_from_a_clock_of_the_future_stops_no_deletion_and_goes_with_the_rows_around_it(store: Store) -> None:
    add(store, entry(9000, thing="future"), entry(6), entry(20), entry(9000, thing="newest"))
    assert sum(delete_rows(store, "audit_log", 10, NOW + 21 * DAY)) == 7
    assert verify_store(store).ok and rows(store)[1:] == ["newest", "key-20"]


def test_a_row_from_a_clock_of_the_past_deletes_no_newer_row(store: Store) -> None:
    add(store, entry(20), entry(-9000, thing="past"))
    assert sum(delete_rows(store, "audit_log", 10, NOW + 21 * DAY)) == 5
    assert verify_store(store).ok and rows(store)[1:] == ["past", "key-20"]


def test_a_crash_between_a_deletion_and_its_head_leaves_the_log_whole(store: Store) -> None:
    file = HEAD.beside(store.path)
    assert file is not None
    before = file.read_bytes()
    assert sum(delete_rows(store, "audit_log", 1, NOW + 99 * DAY)) == 5
    file.write_bytes(before)  # as if control had been killed before the file was written
    assert verify_store(store).ok
    add(store, entry(100))
    assert verify_store(store).ok and read(file) == table.head(store)
    file.write_text('{"seq": 5, "hash": "' + "0" * 64 + '"}')
    assert not verify_store(store).ok


def test_rows_are_found_by_act_group_actor_model_outcome_and_time(store: Store) -> None:
    refused = entry(6, act=Act.KEYS_REVOKE, outcome="refused", actor="Bob (key 2)", thing="r", model="reviews")
    add(store, refused, entry(7, act=Act.LOGIN, thing="l"))
    assert rows(store, act="keys") == ["r", *(f"key-{n}" for n in range(5, 0, -1))]
    assert rows(store, act="keys.revoke") == rows(store, actor="bob") == rows(store, model="reviews") == ["r"]
    assert rows(store, outcome="refused") == ["r"] and rows(store, act="key") == []
    assert rows(store, since=NOW + 7 * DAY) == ["l"] and rows(store, until=NOW + 2 * DAY) == ["key-1"]
    assert rows(store, before=3) == ["key-2", "key-1"]


@given(text=st.text(max_size=300))
def test_any_text_can_be_stored_and_verified(text: str) -> None:
    store = Store(":memory:")
    try:
        add(store, entry(1, thing=text, actor=text, address=text, route=text, model=text))
        assert verify_store(store).ok
        (row,) = table.page(store, Filter(), limit=1)
        assert len(row["object"]) <= LONGEST_TEXT and row["object"].isprintable()
    finally:
        store.close()


def test_a_half_of_a_surrogate_pair_is_replaced() -> None:
    assert audit_log.plain("a\ud800\x1b[1mb\n") == "a??[1mb?"


def test_a_deletion_that_is_undone_leaves_the_log_whole(store: Store) -> None:
    with pytest.raises(RuntimeError):
        expire_and_fail(store)
    assert begins_after(store) == LedgerHead(0, GENESIS) and verify_store(store).rows == 5 and verify_store(store).ok
