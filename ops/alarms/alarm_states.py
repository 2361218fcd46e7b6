"""When an alarm begins, is sent again and ends, by what was found at each check. Pure functions.

An alarm begins when its condition lasted for the hold time, and ends when it was absent for as long. So a condition
that comes and goes is one alarm.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from core.settings import AlarmSettings
from ops.alarms.conditions import Condition

Key = tuple[str, str]
Change = Literal["began", "repeated", "ended"]
State = Literal["pending", "open", "ending"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition with its times: first found, last found, begun as an alarm, and newest message."""

    condition: Condition
    since: datetime
    seen: datetime
    opened: datetime | None = None
    sent: datetime | None = None

    @property
    def key(self) -> Key:
        """What tells it from every other alarm."""
        return self.condition.name, self.condition.subject

    def state(self, checked: datetime) -> State:
        """`pending` before its hold time has passed, `ending` if the newest check did not find it."""
        return "pending" if self.opened is None else "open" if self.seen >= checked else "ending"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to send about an alarm."""

    change: Change
    alarm: Alarm


def advance(
    known: Mapping[Key, Alarm],
    found: Iterable[Condition],
    now: datetime,
    settings: AlarmSettings,
    *,
    unknown: Collection[str] = (),
    silenced: Callable[[Condition], bool] = lambda _: False,
) -> tuple[dict[Key, Alarm], list[Notice]]:
    """The alarms after a check that found these conditions, and what to send.

    Alarms in `unknown` could not be checked: they stay as they are. While `silenced`, nothing is sent but the end of
    an alarm whose beginning was sent.
    """
    after: dict[Key, Alarm] = {}
    notices: list[Notice] = []
    for condition in found:
        key = condition.name, condition.subject
        alarm = replace(known.get(key, Alarm(condition, now, now)), condition=condition, seen=now)
        if alarm.opened is None and now - alarm.since >= hold_time(condition, settings):
            alarm = replace(alarm, opened=now)
        if alarm.opened is not None and not silenced(condition) and (change := _due(alarm, now, settings)):
            alarm = replace(alarm, sent=now)
            notices.append(Notice(change, alarm))
        after[key] = alarm
    for key, alarm in known.items():
        if key in after:
            continue
        if alarm.condition.name in unknown:
            after[key] = replace(alarm, seen=now)
        elif alarm.opened is not None and now - alarm.seen < hold_time(alarm.condition, settings):
            after[key] = alarm
        elif alarm.sent is not None:
            notices.append(Notice("ended", alarm))
    return after, notices


def hold_time(condition: Condition, settings: AlarmSettings) -> timedelta:
    """How long a condition must last before its alarm begins, and be absent before it ends."""
    return timedelta(seconds=settings.hold_seconds.get(condition.name, condition.rule.hold_seconds))


def _due(alarm: Alarm, now: datetime, settings: AlarmSettings) -> Change | None:
    if alarm.sent is None:
        return "began"
    hours = settings.repeat_hours
    return "repeated" if hours is not None and now - alarm.sent >= timedelta(hours=hours) else None
