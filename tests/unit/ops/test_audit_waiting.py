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
    for number in range(10_000):
        waiting.add(refused(number))
    rows = waiting.take(NOW + REFUSALS_WAIT)
    assert len(rows) == MOST_REFUSALS + 1 and sum(row.n for row in rows) == 10_000
    assert [row.address for row in rows].count(OTHERS) == 1


def test_reads_of_endless_things_keep_who_read() -> None:
    waiting = Waiting()
    for number in range(1000):
        waiting.add(read(number, actor=("ada", "bob")[number % 2]))
    rows = waiting.take(NOW + READS_WAIT)
    assert len(rows) == MOST_READS + 2 and sum(row.n for row in rows if row.actor == "bob") == 500


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
