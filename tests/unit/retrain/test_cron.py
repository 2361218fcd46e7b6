"""Facts about cron lines: weekdays as in cron, lines that never fire, and schedules that were missed."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.db import runs as runs_table
from core.db import schedules
from core.errors import SettingsError
from core.settings import Settings
from retrain.cron import count_missed, parse_cron
from retrain.pipeline import RetrainPipeline
from retrain.scheduler import Scheduler
from tests.support.pipeline import NOW

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def days_of(line: str, count: int = 7) -> list[str]:
    """The weekdays on which a line fires in the week from Monday, November 23 on."""
    trigger, found, moment = parse_cron("schedule", line), [], MONDAY - timedelta(seconds=1)
    while True:
        due = trigger.get_next_fire_time(None, moment)
        if due is None or due >= MONDAY + timedelta(days=count):
            return found
        found.append(DAYS[due.weekday()])
        moment = due + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("weekday", "days"),
    [
        ("0", ["sun"]),
        ("7", ["sun"]),
        ("1", ["mon"]),
        ("6", ["sat"]),
        ("1-5", ["mon", "tue", "wed", "thu", "fri"]),
        ("0-2", ["mon", "tue", "sun"]),
        ("5-7", ["fri", "sat", "sun"]),
        ("sat-sun", ["sat", "sun"]),
        ("fri-mon", ["mon", "fri", "sat", "sun"]),
        ("1,3,SUN", ["mon", "wed", "sun"]),
        ("*/2", ["tue", "thu", "sat", "sun"]),
        ("1-5/2", ["mon", "wed", "fri"]),
        ("*", list(DAYS)),
    ],
)
def test_weekdays_are_those_of_cron(weekday: str, days: list[str]) -> None:
    assert days_of(f"0 3 * * {weekday}") == days


def test_of_a_day_and_a_weekday_either_one_is_enough() -> None:
    assert days_of("0 3 24 * 0") == ["tue", "sun"]
    assert days_of("0 3 24 * *") == ["tue"]


@pytest.mark.parametrize("line", ["0 0 31 2 *", "0 0 30 feb *"])
def test_a_line_that_can_never_fire_is_refused(line: str) -> None:
    with pytest.raises(SettingsError, match=r"models\.a\.retrain\.schedule: .* never fires"):
        parse_cron("models.a.retrain.schedule", line)


@pytest.mark.parametrize("line", ["0 3 * *", "every day", "0 3 * * 8", "0 25 * * *", "0 3 * * mo-x", "0 3 * * 1/x"])
def test_a_wrong_line_is_refused_with_an_example(line: str) -> None:
    with pytest.raises(SettingsError, match=r"is no cron line.*Sundays only"):
        parse_cron("schedule", line)


def test_the_29th_of_february_fires() -> None:
    assert parse_cron("schedule", "0 0 29 2 *").get_next_fire_time(None, NOW) == datetime(2028, 2, 29, tzinfo=UTC)


def test_missed_times_are_counted_from_the_first_to_now() -> None:
    daily = parse_cron("schedule", "0 3 * * *")
    due = datetime(2026, 4, 29, 3, tzinfo=UTC)
    assert count_missed(daily, due, due - timedelta(seconds=1)) == 0
    assert count_missed(daily, due, due) == 1
    assert count_missed(daily, due, due + timedelta(days=2, hours=1)) == 3


@pytest.fixture
def nightly(make: Callable[..., RetrainPipeline], settings: Settings) -> Callable[[str], Scheduler]:
    model = settings.models["reviews"]

    def made(line: str = "0 3 * * *") -> Scheduler:
        retrain = model.retrain.model_copy(update={"schedule": line})
        changed = settings.model_copy(update={"models": {"reviews": model.model_copy(update={"retrain": retrain})}})
        pipeline = make(changed=changed)
        return Scheduler(
            settings=changed,
            store=pipeline.store,
            pipeline=pipeline,
            steps=pipeline.steps,
            watch=lambda: None,
            reconcile=lambda: None,
        )

    return made


def started(scheduler: Scheduler) -> list[str]:
    """The triggers of the runs that a start of the scheduler began."""
    scheduler.start()
    scheduler._runs.shutdown(wait=True)
    scheduler.stop()
    rows: list[dict[str, Any]] = runs_table.newest(scheduler.store, model="reviews", limit=10)
    return [row["trigger"] for row in rows]


def test_a_schedule_that_was_missed_starts_one_run_and_says_so(
    nightly: Callable[..., Scheduler], caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = nightly()
    schedules.put(scheduler.store, model="reviews", line="0 3 * * *", due=NOW.replace(hour=3) - timedelta(days=2))
    with caplog.at_level(logging.WARNING):
        assert started(scheduler) == ["schedule 0 3 * * *, due 3 times while control did not run"]
    assert "the schedule of reviews was due 3 times while control did not run" in caplog.text
    found = schedules.find(scheduler.store, model="reviews")
    assert found and found.due == NOW.replace(hour=3) + timedelta(days=1)


def test_a_first_start_or_another_line_has_missed_nothing(nightly: Callable[..., Scheduler]) -> None:
    assert started(nightly()) == []
    scheduler = nightly("0 4 * * *")
    schedules.put(scheduler.store, model="reviews", line="0 3 * * *", due=NOW - timedelta(days=9))
    assert started(scheduler) == []


def test_a_schedule_that_is_not_due_yet_starts_nothing(nightly: Callable[..., Scheduler]) -> None:
    scheduler = nightly()
    schedules.put(scheduler.store, model="reviews", line="0 3 * * *", due=NOW + timedelta(hours=1))
    assert started(scheduler) == []
