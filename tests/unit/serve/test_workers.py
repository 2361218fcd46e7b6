"""Facts about what the workers of one gateway share in memory: limits and requests at engines."""

import copy
import itertools
import mmap
import os
import signal
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api_keys import Grant, Limits
from core.errors import LimitReached
from serve.engines.suspects import REMEMBERED_SECONDS
from serve.gateway.authentication import KeyLimits
from serve.workers import memory as shared
from serve.workers.engines import SharedEngineHealth, SharedEngines, SharedSuspects
from serve.workers.limits import SharedKeyLimits
from serve.workers.memory import SharedMemory

WORKERS = 3
Step = tuple[int, str, int, float]


def views(workers: int = WORKERS) -> list[SharedMemory]:
    """The memory as each worker has it."""
    made = SharedMemory(workers)
    found = [copy.copy(made) for _ in range(workers)]
    for number, view in enumerate(found):
        view.worker = number
    return found


def grant(**limits: int) -> Grant:
    return Grant("key", "", (), limits=Limits(**limits))


def tries(work: Callable[[], object]) -> object:
    try:
        return work()
    except LimitReached as error:
        return str(error), error.retry_after_s, error.headers


KINDS = st.sampled_from(["enter", "reserve", "leave"])
STEPS = st.lists(st.tuples(st.integers(0, WORKERS - 1), KINDS, st.integers(0, 40), st.floats(0, 20)), max_size=40)
MEMORIES, KEYS = views(), itertools.count()


@given(STEPS, st.integers(1, 5), st.integers(1, 60), st.integers(1, 3))
def test_limits_of_several_workers_are_those_of_one(
    steps: list[Step], requests: int, tokens: int, concurrent: int
) -> None:
    limits = Limits(requests, tokens, concurrent)
    key = Grant(f"key-{next(KEYS)}", "", (), limits=limits)
    workers, alone, now = [SharedKeyLimits(view, key, 0.0) for view in MEMORIES], KeyLimits(limits, 0.0), 0.0
    flying: list[int] = []  # the worker of each request that is under way
    for worker, kind, amount, later in steps:
        now += later
        if kind == "enter":
            found = [tries(partial(one.enter, now)) for one in (alone, workers[worker])]
            flying += [worker] if isinstance(found[0], dict) else []
        elif not flying:
            continue
        elif kind == "reserve":
            found = [tries(partial(one.reserve, amount, now)) for one in (alone, workers[flying[0]])]
        else:
            there = workers[flying.pop(0)]
            found = [tries(partial(one.leave, amount)) for one in (alone, there)]
        assert found[0] == found[1]


def test_a_limit_below_the_number_of_workers_holds() -> None:
    workers = [SharedKeyLimits(view, grant(concurrent=1), 0.0) for view in views()]
    workers[0].enter(0.0)
    for worker in workers:
        with pytest.raises(LimitReached):
            worker.enter(0.0)
    workers[0].leave(0)
    workers[2].enter(0.0)


def test_a_key_with_other_limits_begins_with_full_buckets() -> None:
    first, second = (SharedKeyLimits(view, grant(requests_per_minute=1), 0.0) for view in views(2))
    first.enter(0.0)
    with pytest.raises(LimitReached):
        second.enter(0.0)
    SharedKeyLimits(views(2)[0], grant(requests_per_minute=2), 0.0).enter(0.0)


def test_what_a_dead_worker_had_under_way_is_forgotten_but_not_what_it_used() -> None:
    memories = views(2)
    first, second = (SharedKeyLimits(view, grant(requests_per_minute=2, concurrent=1), 0.0) for view in memories)
    engines = [SharedEngineHealth(view, "http://e") for view in memories]
    assert engines[0].enter(1) and not engines[1].enter(1)
    first.enter(0.0)
    memories[1].forget(0)
    assert engines[1].total() == 0 and engines[1].enter(1)
    second.enter(0.0)
    second.leave(0)
    with pytest.raises(LimitReached, match="requests a minute"):
        second.enter(0.0)


def test_keys_beyond_the_memory_replace_those_used_least_lately_and_none_with_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "SETS", 1)
    view = views(1)[0]
    keys = [
        SharedKeyLimits(view, Grant(f"key-{n}", "", (), limits=Limits(requests_per_minute=1)), 0.0) for n in range(9)
    ]
    keys[0].enter(0.0)  # stays under way
    for n, key in enumerate(keys[1:], 1):
        key.enter(float(n))
        key.leave(0)
    for key in (keys[0], keys[-1]):
        with pytest.raises(LimitReached):
            key.enter(9.0)
    assert keys[1].enter(9.0)


def test_a_worker_counts_alone_where_all_places_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SETS", 1)
    monkeypatch.setattr(shared, "ENGINES", 1)
    view = views(1)[0]
    limits = Limits(requests_per_minute=2)
    keys = [SharedKeyLimits(view, Grant(f"key-{n}", "", (), limits=limits), 0.0) for n in range(shared.WAYS + 1)]
    for key in keys:
        key.enter(0.0)
        key.enter(0.0)
        with pytest.raises(LimitReached):
            key.enter(0.0)
    for engine in (SharedEngineHealth(view, "http://a"), SharedEngineHealth(view, "http://b")):
        assert engine.enter(2) and engine.enter(2) and not engine.enter(2)
        engine.leave()
        assert engine.total() == 1 and engine.enter(2)


def test_an_engine_without_requests_gives_its_place_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "ENGINES", 1)
    first, second = views(2)
    a, b = SharedEngineHealth(first, "http://a"), SharedEngineHealth(second, "http://b")
    assert a.enter(1)
    a.leave()
    assert b.enter(2) and b.enter(2) and not b.enter(2)
    assert a.enter(1) and not a.enter(1)  # counts alone, not among the requests to b
    assert b.total() == 2 and a.total() == 1


def test_an_engine_whose_place_was_taken_leaves_the_count_of_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "ENGINES", 1)
    first, second = views(2)
    a, b = SharedEngineHealth(first, "http://a"), SharedEngineHealth(first, "http://b")
    assert a.enter(1)
    a.leave()
    assert b.enter(1) and a.enter(1)
    assert not SharedEngineHealth(second, "http://b").enter(1)


def test_a_request_that_a_full_engine_refuses_reads_the_place_of_that_engine_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = SharedEngineHealth(views(1)[0], "http://e")
    assert engine.enter(1)
    read, places = SharedMemory.engine, list[int]()

    def seen(memory: SharedMemory, place: int) -> tuple[int, int]:
        places.append(place)
        return read(memory, place)

    monkeypatch.setattr(SharedMemory, "engine", seen)
    assert not engine.enter(1) and len(set(places)) == 1


def test_a_request_that_began_before_its_key_had_a_place_is_counted_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SETS", 1)
    first, second = views(2)
    others = [
        SharedKeyLimits(first, Grant(f"key-{n}", "", (), limits=Limits(concurrent=1)), 0.0) for n in range(shared.WAYS)
    ]
    for other in others:
        other.enter(0.0)
    here, there = (SharedKeyLimits(view, grant(concurrent=1), 0.0) for view in (first, second))
    here.enter(0.0)
    there.enter(0.0)
    others[0].leave(0)
    here.leave(0)  # makes the record
    there.leave(0)
    there.enter(0.0)
    for key in (here, there):
        with pytest.raises(LimitReached):
            key.enter(0.0)


def in_processes(workers: int, work: Callable[[int], int]) -> int:
    """The sum of what forked processes return, each at most 255."""
    pids = []
    for number in range(workers):
        pid = os.fork()
        if not pid:
            os._exit(work(number))
        pids.append(pid)
    return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


def test_processes_that_ask_at_once_get_what_the_limits_allow_and_no_more() -> None:
    memories = views()

    def used(number: int) -> int:
        key = SharedKeyLimits(memories[number], grant(requests_per_minute=200), 0.0)
        return sum(isinstance(tries(lambda: key.enter(0.0)), dict) for _ in range(150))

    inside = mmap.mmap(-1, WORKERS)

    def excess(number: int) -> int:
        engine, found = SharedEngineHealth(memories[number], "http://e"), 0
        for _ in range(3000):
            if engine.enter(2):
                inside[number] = 1
                found = max(found, inside[:].count(1) - 2)  # one copy, not one byte after the other
                inside[number] = 0
                engine.leave()
        return found

    assert in_processes(WORKERS, used) == 200
    assert in_processes(WORKERS, excess) == 0
    assert SharedEngineHealth(memories[0], "http://e").enter(1)


def test_a_full_engine_gets_no_request_while_the_other_worker_changes_its_count() -> None:
    engines, ended = [SharedEngineHealth(view, "http://e") for view in views(2)], mmap.mmap(-1, 1)
    assert all(engine.enter(80) for _ in range(40) for engine in engines)

    def admitted(number: int) -> int:
        found = 0
        if number:
            for _ in range(5000):
                found += engines[1].enter(80)
            ended[0] = 1
        while not ended[0]:
            engines[0].enter(1000)
            engines[0].leave()
        return min(found, 255)

    assert in_processes(2, admitted) == 0


def test_a_worker_that_is_killed_inside_the_lock_leaves_it() -> None:
    memory = SharedMemory(1)
    pid = os.fork()
    if not pid:
        with memory:
            signal.raise_signal(signal.SIGKILL)
    os.waitpid(pid, 0)
    with memory:
        pass


def test_a_request_that_ends_engines_is_refused_by_all_workers() -> None:
    now = [100.0]
    first, second = (SharedSuspects(view, lambda: now[0]) for view in views(2))
    first.broke(7)
    assert not second.refuses(7)
    second.broke(7)
    assert first.refuses(7) and second.refuses(7) and not first.refuses(8)
    now[0] += REMEMBERED_SECONDS
    assert not first.refuses(7)
    first.broke(7)
    assert not second.refuses(7)  # counted again from one after so long


def test_engines_by_url_are_made_once() -> None:
    states = SharedEngines(views(1)[0])
    assert states["http://a"] is states["http://a"] and states["http://a"] is not states["http://b"]


def test_reloads_and_breaks_do_not_overwrite_each_other() -> None:
    first, second = views(2)
    first.count_reload()
    second.set_broken(3.5)
    second.count_reload()
    assert (first.reloads, first.broken_at) == (2, 3.5)
