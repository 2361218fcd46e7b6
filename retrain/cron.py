"""Cron lines as cron reads them: weekdays from 0 or 7, Sunday, to 6; of day and weekday, either one is enough.

APScheduler counts weekdays from Monday as 0, so every weekday is given to it by name.
"""

from datetime import UTC, datetime

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from core.errors import SettingsError

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
HINT = 'Write minute, hour, day, month, weekday, e.g. "0 3 * * *" for 3:00 UTC, or "0 3 * * 0" for Sundays only.'
# A count of missed times above this is not exact.
MOST_MISSED = 1000


def parse_cron(setting: str, line: str) -> BaseTrigger:
    """Return the trigger of a cron line in UTC. Raises SettingsError for a line that is wrong or can never fire."""
    try:
        trigger = _trigger(line)
    except ValueError as error:
        raise SettingsError(f"{setting}: {line!r} is no cron line: {error}.", hint=HINT) from error
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise SettingsError(f"{setting}: {line!r} never fires, because no month has that day.", hint=HINT)
    return trigger


def _trigger(line: str) -> BaseTrigger:
    fields = line.split()
    if len(fields) != 5:
        raise ValueError(f"it has {len(fields)} fields, and 5 are needed")
    minute, hour, day, month, weekday = fields
    weekday = _named(weekday)

    def of(day: str, weekday: str) -> CronTrigger:
        return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone="UTC")

    # As in cron, a field that begins with * does not restrict, and of two that restrict either one is enough.
    if fields[2].startswith("*") or fields[4].startswith("*"):
        return of(day, weekday)
    return OrTrigger([of(day, "*"), of("*", weekday)])


def _named(field: str) -> str:
    """Return a field of weekdays with names only. Raises ValueError."""
    if field == "*":
        return field
    days: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        begin, end = _number(first), _number(last) if last else None
        if end is None:
            end = 6 if step else begin
        if end < begin:  # fri-mon, or sat-sun with Sunday as 0
            end += 7
        days |= {day % 7 for day in range(begin, end + 1, int(step or 1))}
    return ",".join(WEEKDAYS[day] for day in sorted(days))


def _number(day: str) -> int:
    if day[:3] in WEEKDAYS:
        return WEEKDAYS.index(day[:3])
    if not day.isdigit() or int(day) > 7:
        raise ValueError(f"{day!r} is no weekday: 0 or 7 is Sunday, 6 is Saturday")
    return int(day)


def count_missed(trigger: BaseTrigger, due: datetime, now: datetime) -> int:
    """Return how often a trigger was due from `due` until now, both included. At most MOST_MISSED."""
    count, moment = 0, trigger.get_next_fire_time(None, due)
    while moment is not None and moment <= now and count < MOST_MISSED:
        count += 1
        moment = trigger.get_next_fire_time(moment, moment)
    return count
