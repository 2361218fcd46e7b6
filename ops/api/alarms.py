"""The ops API of alarms: which there are, and silence one."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field

from core.acts import Act, act, note, only_numbers
from core.clock import Clock
from core.db.alarms import Silence
from core.route_list import RouteList
from core.settings import AlarmName
from ops.alarms.alarm_log import LONGEST_SILENCE_HOURS
from ops.alarms.watch import AlarmWatch
from ops.api.models import Said, signed_body


class SilenceAlarm(Said):
    """The alarm to silence, for which subject, and for how long. No subject: all subjects. 0 hours end a silence."""

    name: AlarmName
    subject: str | None = Field(None, max_length=300)
    hours: float = Field(ge=0, le=LONGEST_SILENCE_HOURS)


def create_reading_router(watch: AlarmWatch) -> RouteList:
    """The route that lists alarms."""
    router = RouteList(prefix="/api")

    @router.get("/alarms")
    @only_numbers
    def alarms(model: str | None = None) -> list[dict[str, Any]]:
        """Alarms that are pending, open or about to end, critical ones first; with a model, those about it alone."""
        return watch.alarms(None if model is None else [model])

    return router


def create_acting_router(watch: AlarmWatch, clock: Clock) -> RouteList:
    """The route that silences one."""
    router = RouteList(prefix="/api")

    @router.post("/alarms/silence")
    @act(Act.ALARMS_SILENCE)
    def silence(request: Request, said: Annotated[SilenceAlarm, signed_body(SilenceAlarm)]) -> dict[str, Any]:
        """Send no message about an alarm for some hours. If it is still open then, its message is sent."""
        note(request, thing=said.name)
        until = clock() + timedelta(hours=said.hours)
        watch.log.silence(Silence(said.name, said.subject, until, said.actor, said.comment))
        return {"name": said.name, "subject": said.subject, "until": until if said.hours else None}

    return router
