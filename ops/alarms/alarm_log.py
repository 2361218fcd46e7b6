"""Open alarms, their events and silences, in memory and in the store.

Events are sent from memory, so that a full disk does not keep its own alarm from being sent. What could not be written
is written with the next check.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from core.clock import Clock, new_id
from core.db import alarms as alarms_table
from core.db.alarms import AlarmEvent, OpenAlarm, Silence
from core.db.store import Store
from core.settings import AlarmSettings
from ops.alarms.alarm_states import Alarm, Key, Notice, hold_time
from ops.alarms.conditions import BY_NAME, Condition

log = logging.getLogger(__name__)

# Events that are kept. A target that takes nothing for longer misses the oldest.
MOST_EVENTS = 1000
START_TIME = timedelta(seconds=60)
LONGEST_SILENCE_HOURS = 30 * 24


class AlarmLog:
    """What is known of alarms. One thread changes alarms; others read events and change silences."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._events = deque(alarms_table.events(store), MOST_EVENTS)
        self._silences = alarms_table.silences(store, now=clock())
        self._unwritten: list[AlarmEvent] = []
        self._is_behind = False

    def load(self, settings: AlarmSettings) -> dict[Key, Alarm]:
        """The alarms that were open when control ended, as if they were found now: nobody checked in between.

        None ends within START_TIME: until then control has not heard of every gateway and engine.
        """
        now = self._clock()
        found = (_alarm(row, now) for row in alarms_table.open_alarms(self._store) if row.name in BY_NAME)
        waits = {alarm.key: (alarm, START_TIME - hold_time(alarm.condition, settings)) for alarm in found}
        return {key: replace(alarm, seen=now + max(timedelta(), wait)) for key, (alarm, wait) in waits.items()}

    def record(self, before: Mapping[Key, Alarm], after: Mapping[Key, Alarm], notices: Iterable[Notice]) -> None:
        """Add events of these notices, and write what changed. A failed write is repeated with the next call."""
        events = [self._event(notice, place) for place, notice in enumerate(notices)]
        kept = {key: alarm for key, alarm in after.items() if alarm.opened is not None}
        with self._lock:
            self._unwritten += events
            if events or self._is_behind or _written(before) != _written(after):
                self._is_behind = not self._write(kept)
            self._events += events

    def head(self) -> int:
        """The number of the newest event, 0 before the first."""
        with self._lock:
            return self._events[-1].seq if self._events else 0

    def after(self, seq: int) -> list[AlarmEvent]:
        """The events after a number, oldest first."""
        with self._lock:
            return [event for event in self._events if event.seq > seq]

    def silence(self, silence: Silence) -> None:
        """Send nothing about an alarm for a time. It replaces the silence before; one that has ended only ends it.

        An ended one without a subject ends the silences of every subject.
        """
        now = self._clock()
        ends, name, subject = silence.until <= now, silence.name, silence.subject
        with self._lock:
            with self._store.transaction() as transaction:
                every = ends and subject is None
                alarms_table.end_silence(transaction, name=name, subject=subject, all_subjects=every, now=now)
                if not ends:
                    alarms_table.add_silence(transaction, silence)
            self._silences = alarms_table.silences(self._store, now=now)

    def silence_of(self, condition: Condition) -> Silence | None:
        """The silence of a condition now."""
        now = self._clock()
        for silence in self._silences:
            if silence.name == condition.name and silence.subject in (None, condition.subject) and silence.until > now:
                return silence
        return None

    def _event(self, notice: Notice, place: int) -> AlarmEvent:
        """An event. Its number is of the clock: after a crash, no number that a target received is given again."""
        now, alarm = self._clock(), notice.alarm
        newest = self._events[-1].seq if self._events else 0
        return AlarmEvent(
            max(newest + 1, int(now.timestamp() * 1000)) + place,
            new_id("alm"),
            now,
            notice.change,
            alarm.condition.name,
            alarm.condition.subject,
            alarm.condition.model,
            alarm.condition.sentence,
            alarm.condition.fix,
            alarm.since,
        )

    def _write(self, alarms: Mapping[Key, Alarm]) -> bool:
        try:
            with self._store.transaction() as transaction:
                alarms_table.replace(transaction, [_row(alarm) for alarm in alarms.values()])
                alarms_table.add_events(transaction, self._unwritten, kept=MOST_EVENTS)
        except Exception:  # of the store, for example on a full disk
            if not self._is_behind:
                log.exception("alarms cannot be written: after a restart they may be sent again")
            self._unwritten = self._unwritten[-MOST_EVENTS:]
            return False
        self._unwritten = []
        return True


def _written(alarms: Mapping[Key, Alarm]) -> set[tuple[Key, datetime | None]]:
    """What tells whether the rows in the store are those of before."""
    return {(key, alarm.sent) for key, alarm in alarms.items() if alarm.opened is not None}


def _row(alarm: Alarm) -> OpenAlarm:
    condition = alarm.condition
    opened = alarm.opened or alarm.since
    return OpenAlarm(
        condition.name,
        condition.subject,
        condition.model,
        condition.sentence,
        condition.fix,
        alarm.since,
        opened,
        alarm.sent,
    )


def _alarm(row: OpenAlarm, now: datetime) -> Alarm:
    condition = Condition(BY_NAME[row.name].name, row.subject, row.model, row.sentence, row.fix)
    return Alarm(condition, row.since, now, row.opened, row.sent)
