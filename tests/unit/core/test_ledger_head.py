"""Facts about ledger.head, and about routes that differ from the ledger."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import ledger, ledger_head, route_check
from core.db import decisions
from core.db.decisions import LedgerHead
from core.db.store import Store
from core.ledger import verify_store
from tests.support.store import decision
from tests.support.workflow import PLAIN, WHY, RolloutHarness


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "loraloop.duckdb")
    for number in range(1, 6):
        add(made, number)
    yield made
    made.close()


def add(store: Store, number: int) -> None:
    with store.transaction() as transaction:
        ledger.append(transaction, decision(number))


def undone(store: Store) -> None:
    with store.transaction() as transaction:
        ledger.append(transaction, decision(6))
        raise RuntimeError


def run(store: Store, sql: str) -> None:
    with store.transaction() as transaction:
        transaction._connection.execute(sql)


def recorded(store: Store) -> LedgerHead | None:
    return ledger_head.read(ledger_head.beside(store.path))


def test_each_committed_row_is_recorded_and_one_that_is_undone_is_not(store: Store):
    assert recorded(store) == decisions.head(store) == LedgerHead(5, decisions.chain(store)[-1]["hash"])
    with pytest.raises(RuntimeError):
        undone(store)
    assert recorded(store) == decisions.head(store)
    with store.transaction() as transaction:
        ledger.append(transaction, decision(6))
        ledger.append(transaction, decision(7))
    found = recorded(store)
    assert found == decisions.head(store) and found and found.seq == 7 and verify_store(store).ok


def test_a_tail_that_was_cut_off_is_found_and_the_evidence_is_kept(store: Store):
    run(store, "DELETE FROM decisions WHERE seq > 3")
    assert verify_store(store).reason == "Row 5, which ledger.head recorded, is missing: the newest rows were cut off."
    before = recorded(store)
    add(store, 8)  # the next decision must not hide it
    assert recorded(store) == before and not verify_store(store).ok


def test_a_ledger_that_was_written_again_is_found(store: Store):
    run(store, "DELETE FROM decisions")
    file = ledger_head.beside(store.path)
    assert file
    kept = file.read_text()
    file.unlink()
    for number in range(11, 18):
        add(store, number)
    assert verify_store(store).ok
    file.write_text(kept)
    assert verify_store(store).reason == (
        "Row 5 is not the one that ledger.head recorded: the ledger was written again."
    )


def test_a_control_that_died_before_it_recorded_a_row_is_no_fault(store: Store):
    file = ledger_head.beside(store.path)
    assert file
    ledger_head.write(file, LedgerHead(4, decisions.chain(store)[3]["hash"]))
    assert verify_store(store).ok
    add(store, 6)
    assert recorded(store) == decisions.head(store)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"seq": "x", "hash": "y"}', "\x00"])
def test_a_file_that_cannot_be_read_is_said_and_kept(store: Store, text: str):
    file = ledger_head.beside(store.path)
    assert file
    file.write_text(text)
    assert verify_store(store).reason == "ledger.head cannot be read."
    add(store, 6)
    assert file.read_text() == text


def test_a_disk_that_is_full_undoes_no_decision(store: Store, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.chain_head.write", full)
    add(store, 6)
    assert verify_store(store).rows == 6 and verify_store(store).ok


def test_a_ledger_from_before_the_file_gets_one_at_the_start(store: Store):
    file = ledger_head.beside(store.path)
    assert file
    file.unlink()
    ledger_head.begin(store)
    assert recorded(store) == decisions.head(store)
    run(store, "DELETE FROM decisions WHERE seq > 3")
    ledger_head.begin(store)  # one that is there is never replaced
    assert not verify_store(store).ok


def test_a_store_in_memory_has_no_file():
    store = Store(":memory:")
    add(store, 1)
    assert verify_store(store).ok and recorded(store) is None


# Routes.


def promoted() -> RolloutHarness:
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    return harness


def canary() -> RolloutHarness:
    harness = RolloutHarness(canary={"share": 0.5})
    harness.offer(1)
    return harness


def retired() -> RolloutHarness:
    harness = canary()
    harness.promotion.sync_models([])
    return harness


def rolled_back() -> RolloutHarness:
    harness = promoted()
    harness.promotion.roll_back("m", None, WHY)
    return harness


@pytest.mark.parametrize("make", [promoted, canary, retired, rolled_back])
def test_every_change_of_a_route_is_in_the_ledger(make: Callable[[], RolloutHarness]):
    harness = make()
    assert verify_store(harness.store).ok
    run(harness.store, "UPDATE routes SET champion = 7 WHERE rev = (SELECT max(rev) FROM routes)")
    report = verify_store(harness.store)
    assert not report.ok and "The route of m has champion 7, and decision" in report.reason
    assert report.broken is None


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM routes WHERE rev = 2", "changed the route of m, and the route that serves is not that one"),
        ("INSERT INTO routes SELECT * REPLACE (3 AS rev, NULL AS decision_id) FROM routes WHERE rev = 2", "Decision 1"),
        ("UPDATE routes SET decision_id = 'none' WHERE rev = 2", "Decision 1 changed the route of m"),
        ("UPDATE routes SET canary = 1, share = 0.5 WHERE rev = 2", "has canary 1, and decision 1 recorded None"),
        ("UPDATE routes SET holdback = 0.1 WHERE rev = 2", "has holdback 0.1, and decision 1 recorded 0.0"),
        ("UPDATE routes SET anchor = 0 WHERE rev = 2", "has anchor 0, and decision 1 recorded 1"),
    ],
)
def test_a_route_that_was_changed_without_a_decision_is_found(sql: str, said: str):
    harness = promoted()
    run(harness.store, sql)
    assert said in verify_store(harness.store).reason


def old(**more: Any) -> dict[str, Any]:
    """A route from before decisions recorded it."""
    plain = {"model": "m", "rev": 4, "champion": 2, "canary": None, "share": 0.0, "previous": 1, "holdback": 0.0}
    plain["anchor"] = None
    decided = {"decision_id": "d", "seq": 9, "from_version": 1, "to_version": 2, "recorded": None, "newer": None}
    return plain | decided | more


def test_older_routes_are_compared_with_the_versions_of_their_decision():
    assert route_check.fault([old(), old(champion=1), old(decision_id=None, seq=None, champion=5)]) == ""
    assert "recorded version 1 or 2" in route_check.fault([old(), old(champion=3)])
    assert "the ledger has none of that name" in route_check.fault([old(seq=None)])
    assert route_check.fault([old(recorded=json.dumps(old()))]) == ""
