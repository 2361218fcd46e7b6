"""The page that silences an alarm, or ends its silence: it asks, and acts after the answer."""

from datetime import timedelta
from typing import Annotated, Any, get_args

from fastapi import Query, Request

from core.acts import Act, act, no_act, note
from core.clock import Clock
from core.db.alarms import Silence
from core.errors import InputError, NotFound
from core.route_list import RouteList
from core.settings import AlarmName
from ops.alarms.alarm_log import LONGEST_SILENCE_HOURS
from ops.alarms.watch import AlarmWatch
from ops.console.actions import NumberField, Question, by_visitor, confirm, done
from ops.console.auth import ByVisitor, FormFields
from ops.console.rendering import Pages

# What the form proposes, in hours.
USUAL_HOURS = 4.0
Subject = Annotated[str | None, Query(max_length=300)]


def create_router(watch: AlarmWatch, clock: Clock, pages: Pages) -> RouteList:
    """The page with the question, and the action itself where the page's form goes to."""
    router = RouteList()

    @router.get("/alarms/{name}/silence", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask(name: str, visitor: ByVisitor, subject: Subject = None) -> Any:
        return confirm(pages, _question(watch, _known(name), subject), visitor)

    @router.post("/alarms/{name}/silence", include_in_schema=False)
    @act(Act.ALARMS_SILENCE)
    def silence(request: Request, name: str, fields: FormFields, visitor: ByVisitor) -> Any:
        note(request, thing=_known(name))
        by, until = by_visitor(visitor, fields), clock() + timedelta(hours=_hours(fields))
        watch.log.silence(Silence(name, fields.get("subject") or None, until, by.actor, by.comment))
        return done("/system")

    return router


def _known(name: str) -> str:
    if name not in get_args(AlarmName):
        raise NotFound("alarm", name, hint="See: loraloop alarms")
    return name


def _hours(fields: dict[str, str]) -> float:
    try:
        hours = float(fields.get("hours", ""))
    except ValueError:
        hours = -1.0
    if not 0 <= hours <= LONGEST_SILENCE_HOURS:
        raise InputError(f"hours: takes a number from 0 to {LONGEST_SILENCE_HOURS}.", hint="0 ends a silence.")
    return hours


def _question(watch: AlarmWatch, name: str, subject: str | None) -> Question:
    about = f"{name} of {subject}" if subject else name
    found = next((row for row in watch.alarms() if row["name"] == name and subject in (None, row["subject"])), None)
    silenced = found["silence"] if found else None
    now = f"silenced until {silenced['until']:%Y-%m-%d %H:%M} UTC" if silenced else "sent"
    return Question(
        f"Silence {about}?",
        "Silence the alarm",
        (("messages", now, "none for the hours below"), ("the alarm", "in lists and metrics", "in lists and metrics")),
        (f"{found['sentence']} " if found else "") + "If it is still open afterwards, its message is sent.",
        "/system",
        {"subject": subject or ""},
        grave=False,
        asks=NumberField("hours", "Hours; 0 ends a silence", USUAL_HOURS, 0, LONGEST_SILENCE_HOURS),
    )
