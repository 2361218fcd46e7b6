"""Facts about plans: the statements of a piece of a spool, or of a batch of an evaluation, use an index."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import new_votes, quarantines, runs
from core.db import store as module
from core.db.store import Store

ROWS = 50_000
FILL = {
    "answers": "INSERT INTO answers SELECT 'n' || n, now()::TIMESTAMP, 'e', 'text' FROM range($rows) numbers(n)",
    "feedback_history": """INSERT INTO feedback_history SELECT 'n' || n, 'c', 'label', '"a"', NULL, NULL,
        now()::TIMESTAMP, now()::TIMESTAMP FROM range($rows) numbers(n)""",
    "revocations": """INSERT INTO revocations SELECT 'n' || n, 'k', now()::TIMESTAMP, 'n' || n, FALSE
        FROM range($rows) numbers(n)""",
    "interactions": """INSERT INTO interactions BY NAME SELECT 'n' || n AS id, now()::TIMESTAMP AS time, 'm' AS model,
        1 AS version, 'champion' AS arm, 0.0 AS share, 'chat' AS endpoint, 200 AS status, 1.0 AS latency_ms,
        FALSE AS streamed, 'n' || n AS conversation_id FROM range($rows) numbers(n)""",
}


@pytest.fixture(scope="module")
def filled() -> Iterator[Store]:
    store = Store(":memory:")
    for statement in FILL.values():
        store._connection.execute(statement, {"rows": ROWS})
    yield store
    store.close()


def scanned(store: Store, statement: str) -> int:
    """The rows that a named statement reads for three ids, from its plan."""
    sql = module._statements()[statement].replace("$ids", "'n7', 'n20000', 'n49000'")
    (_, plan) = store._connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}").fetchall()[0]
    return _scanned(json.loads(plan))


def _scanned(node: dict[str, Any]) -> int:
    return int(node.get("operator_rows_scanned", 0)) + sum(_scanned(child) for child in node.get("children", ()))


@pytest.mark.parametrize(
    "statement",
    [
        "interactions.served",
        "evaluations.known_answers",
        "feedback.history",
        "feedback.revocations",
        "feedback.delete_history",
    ],
)
def test_rows_are_found_by_their_ids_without_a_scan(filled: Store, statement: str) -> None:
    assert 0 < scanned(filled, statement) < ROWS / 10


BLOCKS = 4
BLOCK = 122_880  # the rows of one of DuckDB's blocks, each with its minimum and maximum
OLD = """SELECT {columns}, TIMESTAMP '2026-01-01' + to_seconds(n) AS time FROM range($rows) numbers(n)"""
ANSWER = (
    "'n' || n AS id, 'm' AS model, 1 AS version, 'champion' AS arm, 0.0 AS share, 'chat' AS endpoint, 200 AS status"
)
COLUMNS = {
    "interactions": f"{ANSWER}, 1.0 AS latency_ms, FALSE AS streamed",
    "feedback": "'n' || n AS id, 'thumbs' AS type, 'true' AS value, '{}' AS metadata, 'm' AS model",
}


@pytest.mark.parametrize(
    ("table", "statement"),
    [("interactions", "interactions.recent_traffic"), ("feedback", "feedback.recent_thumbs")],
)
def test_a_window_of_time_reads_its_own_blocks_only(tmp_path: Path, table: str, statement: str) -> None:
    store = Store(tmp_path / "a.duckdb")
    rows = BLOCKS * BLOCK
    store._connection.execute(f"INSERT INTO {table} BY NAME {OLD.format(columns=COLUMNS[table])}", {"rows": rows})
    store._connection.execute("CHECKPOINT")
    since = datetime(2026, 1, 1) + timedelta(seconds=rows - 100)
    sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {module._statements()[statement]}"
    (_, plan) = store._connection.execute(sql, {"since": since}).fetchall()[0]
    assert 0 < _scanned(json.loads(plan)) <= 2 * BLOCK
    store.close()


def test_the_looks_of_one_canary_are_read_from_its_own_blocks(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.duckdb")
    rows = BLOCKS * BLOCK
    columns = "'run-' || n // 100 AS run_id, n % 100 AS look, 'wait' AS verdict, 'So.' AS reason, '{}' AS body"
    store._connection.execute(f"INSERT INTO canary_looks BY NAME {OLD.format(columns=columns)}", {"rows": rows})
    store._connection.execute("CHECKPOINT")
    since = datetime(2026, 1, 1) + timedelta(seconds=rows - 100)
    asked = {"run_id": f"run-{rows // 100 - 1}", "since": since, "until": datetime.max, "most": 10, "newest": 3}
    sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {module._statements()['live_tests.looks']}"
    (_, plan) = store._connection.execute(sql, asked).fetchall()[0]
    assert 0 < _scanned(json.loads(plan)) <= 2 * 2 * BLOCK
    store.close()


def test_new_votes_outside_of_quarantines_are_counted_without_older_votes_and_interactions(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.duckdb")
    rows = BLOCKS * BLOCK
    for table, columns in COLUMNS.items():
        store._connection.execute(f"INSERT INTO {table} BY NAME {OLD.format(columns=columns)}", {"rows": rows})
    store._connection.execute("UPDATE feedback SET arrived = time, asker = 'u' || hash(id) % 1000")
    with store.transaction() as transaction:
        quarantines.add(transaction, id="q", model="m", version=None, decision_id="d", time=datetime.now(UTC))
        quarantines.add_predicates(transaction, id="q", predicates=[quarantines.Predicate(user="u7")])
    store._connection.execute("CHECKPOINT")
    until = datetime(2026, 1, 1) + timedelta(seconds=rows - 1000)
    sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {module._statements()['new_votes.at_most']}"
    asked = {"place": [0], "model": ["m"], "type": ["thumbs"], "until": [until], "since": until}
    (_, plan) = store._connection.execute(sql, asked).fetchall()[0]
    assert 0 < _scanned(json.loads(plan)) <= 5 * BLOCK
    held = store._connection.execute("SELECT count(*) FROM feedback WHERE arrived > ? AND asker = 'u7'", [until])
    (count,) = held.fetchone() or (0,)
    moment = until.replace(tzinfo=UTC)
    runs.add(store, id="r", model="m", trigger="t", state="finished", started=moment, feedback_until=moment)
    others = [new_votes.Asked("other", ["thumbs"]), new_votes.Asked("m", ["label", "flag"])]
    assert new_votes.at_most(store, [new_votes.Asked("m", ["thumbs", "label"]), *others]) == [999 - count, 0, 0]
    store.close()


def test_a_condition_that_no_index_has_is_a_scan(filled: Store) -> None:
    assert scanned(filled, "interactions.served_last") >= ROWS
