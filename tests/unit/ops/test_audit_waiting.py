"""Facts about entries that wait: equal ones become one row, and their number is bounded."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.acts import Act
from core.audit_log import Entry
from ops.audit.waiting import MOST_READS, MOST_REFUSALS, OTHERS, READS_WAIT, REFUSALS_WAIT, Waiting

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def refused(number: int, **changes: Any) -> Entry:
    return replace(Entry(NOW, Act.LOGIN, "refused", 401, "", f"10.0.0.{number}", "POST /login"), **changes)


def read(number: int, **changes: Any) -> Entry:
    return replace(Entry(NOW, Act.TEXTS_READ, "ok", 200, "ada", "10.0.0.1", "GET /x", thing=f"i-{number}"), **changes)


def test_refusals_of_one_address_in_a_minute_are_one_row_with_their_number() -> None:
    waiting = Waiting()
    for second in range(50):
        waiting.add(refused(1, time=NOW + second * SECOND, request_id=f"req-{second}"))
    assert waiting.take(NOW + REFUSALS_WAIT - SECOND) == []
    (row,) = waiting.take(NOW + REFUSALS_WAIT)
    assert (row.n, row.time, row.request_id, row.address) == (50, NOW, "req-0", "10.0.0.1")
    assert waiting.take(NOW + 2 * REFUSALS_WAIT) == [] and len(waiting) == 0


def test_refusals_of_endless_addresses_are_a_bounded_number_of_rows() -> None:
    waiting = Waiting()
    acts = (Act.LOGIN, Act.ACCESS, Act.KEYS_CREATE)
    for number in range(10_000):
        waiting.add(refused(number, act=acts[number % 3]))
    rows = waiting.take(NOW + REFUSALS_WAIT)
    assert len(rows) == MOST_REFUSALS + 1 and sum(row.n for row in rows) == 10_000
    (others,) = [row for row in rows if row.address == OTHERS]
    assert (others.act, others.outcome, others.status, others.route) == (Act.ACCESS, "refused", 0, "")


def test_requests_without_a_key_do_not_hide_refusals_of_keys() -> None:
    waiting = Waiting()
    for number in range(1000):
        waiting.add(refused(number))
    for actor in ("ada", "bob"):
        for number in range(100):
            waiting.add(refused(1, actor=actor, status=404, route=f"GET /{number}"))
    rows = waiting.take(NOW + REFUSALS_WAIT)
    for actor in ("ada", "bob"):
        named = [row for row in rows if row.actor == actor]
        assert len(named) == MOST_REFUSALS + 1 and [row.address for row in named].count(OTHERS) == 1
        assert sum(row.n for row in named) == 100 and {row.act for row in named} == {Act.LOGIN}


def test_one_address_without_a_key_has_one_row_whatever_it_asks_for() -> None:
    waiting = Waiting()
    for path in ("/a", "/a", "/b", "/c"):
        waiting.add(refused(1, route=f"GET {path}"))
        waiting.add(refused(2, route="GET /a"))
    assert [(row.n, row.route) for row in waiting.take(NOW + REFUSALS_WAIT)] == [(4, ""), (4, "GET /a")]


def test_reads_of_endless_things_keep_who_read() -> None:
    waiting = Waiting()
    for number in range(1000):
        waiting.add(read(number, actor=("ada", "bob")[number % 2]))
    rows = waiting.take(NOW + READS_WAIT)
    assert len(rows) == 2 * (MOST_READS + 1) and sum(row.n for row in rows if row.actor == "bob") == 500


def test_a_key_that_reads_all_day_gets_a_bounded_number_of_rows_per_minute() -> None:
    waiting, rows = Waiting(), []
    for second in range(10 * 60):
        for number in range(50):
            waiting.add(read(50 * second + number, time=NOW + second * SECOND))
        rows += waiting.take(NOW + second * SECOND)
    rows += waiting.take(NOW, all_of_them=True)
    assert sum(row.n for row in rows) == 10 * 60 * 50
    assert len(rows) <= 10 * (MOST_READS + 60 / READS_WAIT.seconds)


def test_a_clock_that_is_set_back_does_not_end_the_rows_of_a_key() -> None:
    waiting = Waiting()
    for number in range(2 * MOST_READS):
        waiting.add(read(number))
    waiting.take(NOW, all_of_them=True)
    waiting.add(read(0, time=NOW - timedelta(days=1)))
    assert [row.address for row in waiting.take(NOW, all_of_them=True)] == ["10.0.0.1"]


def test_reads_wait_for_seconds_and_what_ends_takes_all() -> None:
    waiting = Waiting()
    waiting.add(read(1))
    waiting.add(refused(1))
    assert waiting.take(NOW) == [] and [row.act for row in waiting.take(NOW + READS_WAIT)] == [Act.TEXTS_READ]
    assert [row.act for row in waiting.take(NOW, all_of_them=True)] == [Act.LOGIN]


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(0, 200)), max_size=300))
def test_no_act_is_lost_or_counted_twice(acts: list[tuple[int, bool, int]]) -> None:
    waiting, taken = Waiting(), 0
    for number, is_read, second in acts:
        time = NOW + second * SECOND
        waiting.add((read if is_read else refused)(number, time=time))
        taken += sum(row.n for row in waiting.take(time))
    assert taken + sum(row.n for row in waiting.take(NOW, all_of_them=True)) == len(acts)
