"""Facts about silencing an alarm in the console: it asks, says until when, and is in the alarm's own log."""

import pytest

from core.db import alarms as alarms_table
from tests.support.console import Console
from tests.support.console_security import KeyedConsole


def silences(console: KeyedConsole) -> list[alarms_table.Silence]:
    control = console.control
    return alarms_table.silences(control.store, now=control.clock())


def test_an_alarm_is_silenced_in_two_clicks_and_the_silence_ended(console: KeyedConsole) -> None:
    console.log_in("actor")
    assert (
        "Silence engine_down of http://b?"
        in console.browser.get("/alarms/engine_down/silence", params={"subject": "http://b"}).text
    )
    assert console.form("/alarms/engine_down/silence", hours="2", comment="a new disk").status_code == 303
    (silence,) = silences(console)
    assert (silence.name, silence.subject, silence.comment) == ("engine_down", None, "a new disk")
    assert silence.actor.startswith("actor (key ")
    assert console.form("/alarms/engine_down/silence", hours="0").status_code == 303
    assert silences(console) == []


@pytest.mark.parametrize("hours", ["", "-1", "721", "nan", "inf", "soon"])
def test_hours_that_cannot_be_are_refused_with_the_field(console: KeyedConsole, hours: str) -> None:
    console.log_in("actor")
    answer = console.form("/alarms/engine_down/silence", hours=hours)
    assert answer.status_code == 422 and "hours: takes a number" in answer.text and silences(console) == []


def test_an_alarm_that_is_none_and_a_visitor_who_only_reads(console: KeyedConsole) -> None:
    console.log_in("actor")
    assert console.browser.get("/alarms/nothing/silence").status_code == 404
    console.log_in("reader")
    assert console.browser.get("/alarms/engine_down/silence").status_code == 403


def test_the_page_of_the_system_has_the_button_for_who_may_act() -> None:
    shown = Console().page("/system")
    assert "No engine has been checked yet." in shown
    assert 'href="/alarms/engine_down/silence' in shown, shown[:3000]
