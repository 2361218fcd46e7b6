"""Facts about the threads of DuckDB: one while rows are added in bulk."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from core.db.store import Store
from core.db.threads import BulkThreads
from tests.support.ingest import query


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    query(store, "SET threads = 3")
    yield store
    store.close()


def threads_of(store: Store) -> int:
    return query(store, "SELECT current_setting('threads')")[0][0]


def usual(store: Store) -> int:
    """DuckDB's own number for this machine."""
    query(store, "RESET threads")
    number = threads_of(store)
    query(store, "SET threads = 3")
    return number


def test_duckdb_has_one_thread_until_the_last_caller_has_left(store: Store) -> None:
    threads, number = BulkThreads(store), usual(store)
    assert threads_of(store) == 3
    with threads.one():
        with threads.one():
            assert threads_of(store) == 1
        assert threads_of(store) == 1
    assert threads_of(store) == number


def test_an_error_gives_the_threads_back(store: Store) -> None:
    threads, number = BulkThreads(store), usual(store)
    with pytest.raises(RuntimeError, match="refused"), threads.one():
        raise RuntimeError("refused")
    assert threads_of(store) == number


class SlowChanges:
    """A fake store: its changes of threads wait until `go` is set."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.ran: list[str] = []

    def rows(self, name: str) -> list[Any]:
        self.begun.set()
        assert self.go.wait(60)
        self.ran.append(name)
        return []


def test_while_one_caller_waits_for_a_query_others_do_not_wait_and_are_not_counted() -> None:
    slow = SlowChanges()
    threads = BulkThreads(cast(Store, slow))
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with threads.one():
            inside.set()
            assert leave.wait(60)

    def other() -> list[str]:
        with threads.one():
            return list(slow.ran)

    with ThreadPoolExecutor(3) as pool:
        waiting = pool.submit(first)
        try:
            assert slow.begun.wait(60)
            assert [pool.submit(other).result(10) for _ in range(2)] == [[], []]
        finally:
            slow.go.set()
        assert inside.wait(60)
        assert pool.submit(other).result(60) == ["threads.one"]
        slow.begun.clear()
        slow.go.clear()
        leave.set()
        try:
            assert slow.begun.wait(60)  # the first caller gives the threads back
            assert pool.submit(other).result(10) == ["threads.one"]
        finally:
            slow.go.set()
        waiting.result(60)
        assert slow.ran == ["threads.one", "threads.default"]
        assert pool.submit(other).result(60) == ["threads.one", "threads.default", "threads.one"]


def test_a_thread_leaves_a_query_before_its_end_so_that_a_change_does_not_wait_for_it(store: Store) -> None:
    assert query(store, "SELECT current_setting('scheduler_process_partial')") == [(True,)]


def test_threads_change_while_others_read_and_write(store: Store) -> None:
    threads = BulkThreads(store)
    query(store, "CREATE TABLE numbers AS SELECT i FROM range(300_000) r(i)")

    def work(number: int) -> int:
        for _ in range(5):
            with threads.one():
                query(store, f"INSERT INTO numbers VALUES (-{number} - 1)")
            assert query(store, "SELECT sum(i) FROM numbers WHERE i >= 0") == [(299_999 * 150_000,)]
        return number

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [0, 1, 2, 3]
    assert query(store, "SELECT count(*) FROM numbers WHERE i < 0") == [(20,)]
