"""Checks for alarms all the time, and shows which there are."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from core.clock import Clock
from core.settings import AlarmSettings
from ops.alarms.alarm_log import AlarmLog
from ops.alarms.alarm_states import Alarm, Key, Notice, advance
from ops.alarms.conditions import RULES, find_conditions, unmeasured
from ops.background_work import BackgroundWork

log = logging.getLogger(__name__)

CHECK_SECONDS = 15.0
View = dict[str, Any]


class AlarmWatch:
    """Checks every CHECK_SECONDS. Pages and metrics show what the newest check found."""

    def __init__(
        self,
        *,
        measure: Callable[[], dict[str, Any]],
        settings: Callable[[], AlarmSettings],
        alarms: AlarmLog,
        clock: Clock,
    ) -> None:
        self.log = alarms
        self._measure = measure
        self._settings = settings
        self._clock = clock
        self._alarms: dict[Key, Alarm] = alarms.load(settings())
        self._checked: datetime | None = None
        self._one = threading.Lock()
        self._work = BackgroundWork("alarms", self._check_again, CHECK_SECONDS)

    def start(self) -> None:
        """Begin to check."""
        self._work.start()

    def stop(self) -> None:
        """End after the check that is under way."""
        self._work.stop()

    def check(self) -> None:
        """Check once, and record what begins, is repeated and ends."""
        with self._one:
            measured, now, settings = self._measure(), self._clock(), self._settings()
            before = self._alarms
            after, notices = advance(
                before,
                find_conditions(measured, settings, now),
                now,
                settings,
                unknown=unmeasured(measured),
                silenced=lambda condition: self.log.silence_of(condition) is not None,
            )
            self.log.record(before, after, notices)
            self._alarms, self._checked = after, now
        for notice in notices:
            _tell(notice)

    def alarms(self, models: Collection[str] | None = None) -> list[View]:
        """The alarms that the newest check found or that have not ended, critical ones first.

        With `models`, only alarms about these models.
        """
        checked = self._checked
        if checked is None:
            return []
        found = (self._view(alarm, checked) for alarm in self._alarms.values())
        wanted = (view for view in found if models is None or view["model"] in models)
        return sorted(wanted, key=lambda view: (view["severity"] != "critical", view["since"], view["subject"]))

    def counts(self) -> list[tuple[str, str, int]]:
        """(alarm, severity, open ones) of every alarm, also of those that are not open."""
        alarms = self._alarms.values()
        counted = Counter(alarm.condition.name for alarm in alarms if alarm.opened is not None)
        return [(rule.name, rule.severity, counted[rule.name]) for rule in RULES]

    @property
    def checked(self) -> datetime | None:
        """When the newest check was, None before the first."""
        return self._checked

    def _check_again(self) -> bool:
        self.check()
        return True

    def _view(self, alarm: Alarm, checked: datetime) -> View:
        condition, silence = alarm.condition, self.log.silence_of(alarm.condition)
        return {
            "name": condition.name,
            "severity": condition.rule.severity,
            "state": alarm.state(checked),
            "subject": condition.subject,
            "model": condition.model,
            "sentence": condition.sentence,
            "fix": condition.fix,
            "runbook": condition.rule.section,
            "since": alarm.since,
            "opened": alarm.opened,
            "sent": alarm.sent,
            "silence": asdict(silence) if silence else None,
        }


def urgent(alarms: Iterable[View]) -> list[View]:
    """The alarms that need a person: not ended, and not silenced."""
    return [alarm for alarm in alarms if alarm["state"] != "ending" and not alarm["silence"]]


def _tell(notice: Notice) -> None:
    condition = notice.alarm.condition
    level = logging.INFO if notice.change == "ended" else logging.WARNING
    log.log(level, "alarm %s %s: %s", condition.name, notice.change, condition.sentence)
