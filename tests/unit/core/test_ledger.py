"""Facts about the ledger's proof: a row that was changed, removed or moved is named."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.db import decisions
from core.db.store import Store
from core.errors import InputError
from core.hash_chain import GENESIS, hash_row, read_head
from core.ledger import append, canonical, verify, verify_store
from core.records import Decision, Verdict

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
ROWS = 5
Row = dict[str, Any]


def decision(number: int) -> Decision:
    return Decision(
        f"dec-{number}",
        NOW + timedelta(hours=number),
        "reviews",
        number,
        number + 1,
        Verdict.PROMOTED,
        "It won.",
        "schedule",
        "scheduler",
        run_id=f"run-{number}",
    )


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    with made.transaction() as transaction:
        for number in range(1, ROWS + 1):
            append(transaction, decision(number))
    yield made
    made.close()


@pytest.fixture
def chain(store: Store) -> list[Row]:
    return decisions.chain(store)


def test_a_whole_ledger_is_whole_and_has_every_earlier_head(store: Store, chain: list[Row]):
    for row in chain:
        report = verify_store(store, row["hash"])
        assert report.ok and report.head_at == row["seq"] and report.head == chain[-1]["hash"]
        assert verify_store(store, row["hash"][:16]).head_at == row["seq"]
    assert verify_store(store, GENESIS).ok


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "dec-x"),
        ("time", NOW),
        ("model", "other"),
        ("from_version", 99),
        ("to_version", None),
        ("verdict", "kept"),
        ("reason", "It lost."),
        ("run_id", None),
        ("body", "{}"),
        ("previous_hash", "a" * 64),
        ("hash", "b" * 64),
        ("seq", 7),
    ],
)
def test_a_row_with_any_column_changed_is_named(chain: list[Row], column: str, value: Any):
    chain[2] = chain[2] | {column: value}
    report = verify(chain)
    assert not report.ok and report.rows == 3 and report.broken is not None
    assert (report.broken.seq, report.broken.id) == (chain[2]["seq"], chain[2]["id"])
    assert f"Row {chain[2]['seq']} ({chain[2]['id']}): " in report.reason and report.broken.fault in report.reason
    if column not in ("body", "previous_hash", "hash", "seq"):
        assert f"its column {column} differs" in report.broken.fault


def test_every_field_of_the_hashed_text_is_covered(chain: list[Row]):
    for name in json.loads(canonical(decision(3))):
        changed = [dict(row) for row in chain]
        changed[2]["body"] = changed[2]["body"].replace(f'"{name}":', f'"{name} ":', 1)
        report = verify(changed)
        assert report.broken is not None and "its text was changed after it was written" in report.broken.fault


@pytest.mark.parametrize("text", ["[]", "null", "no json", '{"id": "dec-3"}', '{"time": 3}'])
def test_a_hashed_text_that_is_no_decision_is_named(chain: list[Row], text: str):
    chain[2] = chain[2] | {"body": text, "hash": hash_row(chain[2]["previous_hash"], text)}
    report = verify(chain)
    assert report.broken is not None and report.broken.fault == "its text is not a decision."


@pytest.mark.parametrize("gone", range(ROWS - 1))
def test_a_deleted_row_is_noticed_at_the_next(chain: list[Row], gone: int):
    removed = chain.pop(gone)
    report = verify(chain)
    assert report.broken is not None and report.broken.id == chain[gone]["id"]
    assert f"expected number {removed['seq']}" in report.broken.fault


def test_a_deleted_row_is_noticed_even_when_the_rest_is_numbered_again(chain: list[Row]):
    del chain[1]
    for place, row in enumerate(chain, 1):
        row["seq"] = place
    report = verify(chain)
    assert report.broken is not None and report.broken.id == "dec-3"
    assert report.broken.fault == "it does not follow from the row before."


@pytest.mark.parametrize("swap", [lambda rows: rows[::-1], lambda rows: [rows[1], rows[0], *rows[2:]]])
def test_rows_out_of_order_are_noticed(chain: list[Row], swap: Callable[[list[Row]], list[Row]]):
    assert not verify(swap(chain)).ok
    swapped = swap(chain)
    for place, row in enumerate(swapped, 1):
        row["seq"] = place
    assert not verify(swapped).ok


def test_a_tail_that_was_cut_off_is_noticed_by_the_head_that_went_out(chain: list[Row]):
    head = chain[-1]["hash"]
    assert verify(chain[:-1]).ok  # nothing else could notice
    report = verify(chain[:-1], head)
    assert not report.ok and report.broken is None and "cut off or replaced" in report.reason
    assert head[:16] in report.reason


def test_a_rewritten_ledger_is_noticed_by_the_head_that_was_sent_out(chain: list[Row]):
    head, previous, forged = chain[-1]["hash"], GENESIS, []
    for number in range(1, ROWS + 1):
        text = canonical(replace(decision(number), reason="It was never rolled back."))
        forged.append(
            chain[number - 1]
            | {
                "body": text,
                "reason": "It was never rolled back.",
                "previous_hash": previous,
                "hash": hash_row(previous, text),
            }
        )
        previous = forged[-1]["hash"]
    assert verify(forged).ok and not verify(forged, head).ok


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 65, "'; DROP TABLE decisions"])
def test_a_head_that_is_none_is_refused(text: str):
    with pytest.raises(InputError, match="is no head"):
        read_head(text)


def test_a_head_is_taken_as_people_paste_it():
    assert read_head(f" {'AB' * 32}\n") == "ab" * 32
