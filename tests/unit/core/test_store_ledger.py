"""Facts about the ledger in the store: what a changed, removed or moved row does to its proof."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import hash_chain, ledger
from core.db import decisions
from core.db.store import Store
from tests.support.store import NOW, decision


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path / "loraloop.duckdb")
    yield store
    store.close()


@pytest.fixture
def chain(store: Store) -> list[dict[str, Any]]:
    for number in range(1, 6):
        with store.transaction() as transaction:
            ledger.append(transaction, decision(number))
    return decisions.chain(store)


def test_a_whole_ledger_is_proved(chain: list[dict[str, Any]], store: Store) -> None:
    report = ledger.verify_store(store)
    assert report == hash_chain.ChainReport(True, 5, chain[-1]["hash"], "5 rows, each follows from the one before.")
    assert ledger.verify([]).head == hash_chain.GENESIS


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_changed_row_is_found_and_named(data: st.DataObject) -> None:
    rows = LEDGER()
    place = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(sorted(rows[0])))
    rows[place][column] = {
        "seq": 77,
        "time": NOW - timedelta(days=1),
        "from_version": 9,
        "to_version": 9,
        "body": rows[place]["body"].replace("promoted", "rejected"),
    }.get(column, "forged")
    report = ledger.verify(rows)
    assert not report.ok
    assert f"({rows[place]['id']})" in report.reason or column == "hash"


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3))
def test_a_removed_row_is_found_and_its_successor_named(place: int) -> None:
    rows = LEDGER()
    del rows[place]
    report = ledger.verify(rows)
    assert not report.ok and f"Row {place + 2} (d{place + 2})" in report.reason
    for number, row in enumerate(rows, 1):
        row["seq"] = number  # renumbered, to hide it
    assert "does not follow from the row before" in ledger.verify(rows).reason


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(5)).filter(lambda order: list(order) != sorted(order)))
def test_reordered_rows_are_found(order: list[int]) -> None:
    rows = [LEDGER()[place] for place in order]
    assert not ledger.verify(rows).ok
    for number, row in enumerate(rows, 1):
        row["seq"] = number
    assert not ledger.verify(rows).ok


def LEDGER() -> list[dict[str, Any]]:  # noqa: N802 — a constant, made fresh
    rows, previous = [], hash_chain.GENESIS
    for number in range(1, 6):
        made = decision(number)
        body = ledger.canonical(made)
        row = {
            name: getattr(made, name)
            for name in ("id", "time", "model", "from_version", "to_version", "reason", "run_id")
        }
        row |= {"seq": number, "verdict": "promoted", "body": body, "previous_hash": previous}
        row["hash"] = previous = hash_chain.hash_row(previous, body)
        rows.append(row)
    return rows


def test_a_time_changed_in_the_store_is_found(chain: list[dict[str, Any]], store: Store) -> None:
    with store.transaction() as transaction:
        transaction._connection.execute("UPDATE decisions SET time = time - INTERVAL 1 DAY WHERE seq = 3")
    assert ledger.verify_store(store).reason == "Row 3 (d3): its column time differs from its text."


def test_a_ledger_append_that_is_undone_leaves_no_gap(chain: list[dict[str, Any]], store: Store) -> None:
    with pytest.raises(ValueError, match="Out of range"), store.transaction() as transaction:
        ledger.append(transaction, decision(6, evidence={"x": float("nan")}))
    with store.transaction() as transaction:
        ledger.append(transaction, decision(7))
    assert ledger.verify_store(store).rows == 6


def test_the_newest_decisions_come_first(chain: list[dict[str, Any]], store: Store) -> None:
    found = decisions.page(store, before=9, model=None, verdict=None, since=None, until=None, limit=2)
    assert [row["id"] for row in found] == ["d5", "d4"]
    assert found[0]["time"] == NOW + timedelta(minutes=5)
