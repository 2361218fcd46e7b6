"""Alarms and notifications of control, put together."""

from collections.abc import Collection

from core.clock import Clock
from ops.alarms.alarm_log import AlarmLog
from ops.alarms.measurement import Measurement
from ops.alarms.watch import AlarmWatch
from ops.control import Control
from ops.notify.notifier import Notifier
from ops.notify.targets import Target


def assemble(control: Control, targets: Collection[Target], clock: Clock) -> tuple[Notifier, AlarmWatch]:
    """Return both, not yet started. The notifier sends what the watch finds, and a target that refuses is an alarm."""
    settings, alarms = control.settings, AlarmLog(control.store, clock)
    notifier = Notifier(
        store=control.store,
        targets=targets,
        verdicts=settings.notifications.verdicts,
        alarms=alarms,
        ops_url=settings.console_url,
        clock=clock,
    )
    measure = Measurement(control, notifier.deliveries).measure
    return notifier, AlarmWatch(measure=measure, settings=lambda: control.settings.alarms, alarms=alarms, clock=clock)
