"""Facts about the looks of a canary as a page reads them: a number of rows that does not grow with the canary."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from core.db import live_tests
from core.db.store import Store

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)


def begin(store: Store, run: str, looks: int) -> None:
    live_tests.add_canary(
        store,
        run_id=run,
        model=run,
        control=0,
        candidate=1,
        share=0.1,
        started=BEGAN,
        score_sd=0.5,
        plan="{}",
        decision="{}",
    )
    with store.transaction() as transaction:
        for look in range(1, looks + 1):
            live_tests.add_look(
                transaction,
                run_id=run,
                look=look,
                time=BEGAN + timedelta(seconds=15 * look),
                started=BEGAN,
                verdict="wait",
                reason="So far.",
                body=json.dumps({"look": look}),
            )


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        (0, []),
        (10, [*range(1, 11)]),
        (11, [1, 3, 5, 7, 9, 10, 11]),
        (100, [10, 20, 30, 40, 50, 60, 70, 80, 90, 99, 100]),
    ],
)
def test_of_many_looks_some_at_equal_distances_and_the_newest_are_read(looks: int, wanted: list[int]) -> None:
    store = Store(":memory:")
    begin(store, "run-1", looks)
    begin(store, "run-2", 30)
    found = live_tests.looks(store, run_id="run-1", most=10, newest=2)
    assert [row["look"] for row in found] == wanted == [json.loads(row["body"])["look"] for row in found]
    store.close()


def test_a_run_without_a_canary_has_no_looks() -> None:
    store = Store(":memory:")
    begin(store, "run-1", 3)
    assert live_tests.looks(store, run_id="run-2", most=10, newest=2) == []
    store.close()
