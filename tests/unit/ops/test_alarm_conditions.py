"""Facts about the conditions of alarms, and about when an alarm begins, is sent again and ends."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from core.settings import AlarmName, AlarmSettings
from ops.alarms.alarm_states import Alarm, Key, advance
from ops.alarms.conditions import RULES, Condition, find_conditions, unmeasured
from ops.apps.changed_settings import CONTROL

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"


def well() -> dict[str, Any]:
    engine = {"url": "http://e", "ready": True, "healthy": True, "adapters": [], "missing": [], "error": ""}
    return {
        "engines": [engine],
        "gateways": [gateway()],
        "dead_letters": 0,
        "notifications": [target(1)],
        "disk": {"free": 50, "total": 100},
        "ledger": {"ok": True, "reason": "whole"},
        "audit_log": {"failing": False},
        "audit_chain": {"ok": True, "reason": "whole"},
        "backups": {"newest": NOW - timedelta(hours=20), "failure": None},
        "canaries": [canary()],
        "runs": [run("r2", "failed"), run("r1", "finished")],
    }


def gateway(**changes: Any) -> dict[str, Any]:
    return {"gateway": "g", "up_to_date": True, "in_flight": 0, "unshipped": 3_000_000, "dropped": 0} | changes


def target(refusals: int) -> dict[str, Any]:
    return {"target": "slack 1a2b", "seq": 3, "told": NOW, "refusals": refusals, "behind": 4, "alarms_behind": 2}


def canary(**changes: Any) -> dict[str, Any]:
    return {
        "model": "reviews",
        "version": 7,
        "started": NOW - timedelta(hours=5),
        "waits": False,
        "requests": 40,
        "idle_since": NOW - timedelta(minutes=2),
        "max_hours": 24,
        "forecast_days": None,
    } | changes


def run(identity: str, state: str, model: str = "reviews") -> dict[str, Any]:
    return {"id": identity, "model": model, "state": state, "finished": NOW}


def failure(hours: float) -> dict[str, Any]:
    return {"time": NOW - timedelta(hours=hours), "reason": "The disk is full."}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"engines": []}, ["engine_down", "No engine"]),
        (
            {"engines": [{"url": "http://e", "ready": False, "missing": ["a-1"], "error": ""}]},
            ["engine_down", "http://e", "lacks a-1"],
        ),
        ({"gateways": []}, ["gateway_missing", "No gateway"]),
        ({"gateways": [gateway(up_to_date=False)]}, ["gateway_outdated", "gateway g"]),
        ({"gateways": [gateway(unshipped=65 * 2**20)]}, ["spool_lag", "gateway g", "68 MB"]),
        ({"gateways": [gateway(dropped=7)]}, ["interactions_dropped", "gateway g", "7 interactions"]),
        ({"notifications": [target(3)]}, ["target_refusing", "slack 1a2b", "refused 3 times", "6 messages"]),
        ({"dead_letters": 3}, ["dead_letters", "3 records"]),
        ({"disk": {"free": 5 * 2**30, "total": 100 * 2**30}}, ["disk_low", "5.0 GiB", "5%"]),
        ({"disk": {"free": 80 * 2**30, "total": 2000 * 2**30}}, []),
        ({"disk": {"free": 49 * 2**30, "total": 2000 * 2**30}}, ["disk_low", "49.0 GiB"]),
        ({"ledger": {"ok": False, "reason": "Row 3 (d3): gone."}}, ["ledger_broken", "ledger is broken", "Row 3"]),
        (
            {"audit_chain": {"ok": False, "reason": "Row 5."}},
            ["audit_log_broken", "audit log is broken. Row 5."],
        ),
        ({"audit_log": {"failing": True}}, ["audit_log_failing", "cannot be written"]),
        (
            {"backups": {"newest": NOW - timedelta(hours=20), "failure": failure(2)}},
            ["backup_failed", "2026-03-01 01:00", "The disk is full."],
        ),
        ({"backups": {"newest": None, "failure": failure(2)}}, ["backup_failed"]),
        ({"backups": {"newest": NOW - timedelta(hours=1), "failure": failure(2)}}, ["backup_failed"]),
        ({"backups": {"newest": NOW - timedelta(hours=48), "failure": None}}, ["backup_overdue", "2.0 days old"]),
        ({"backups": {"newest": None, "failure": None}}, []),
        (
            {"canaries": [canary(idle_since=NOW - timedelta(hours=6))]},
            ["canary_stuck", "reviews@7", "no request reached it for 6 hours"],
        ),
        ({"canaries": [canary(idle_since=NOW - timedelta(hours=7), waits=True)]}, []),
        ({"canaries": [canary(started=NOW - timedelta(hours=27))]}, ["canary_stuck", "27 hours", "limit was 24 hours"]),
        ({"canaries": [canary(started=NOW - timedelta(hours=25))]}, []),
        ({"canaries": [canary(forecast_days=0.1)]}, ["canary_stuck", "5 hours", "forecast was 2 hours"]),
        ({"canaries": [canary(forecast_days=0.11)]}, []),
        ({"canaries": [canary(forecast_days=0.001, started=NOW - timedelta(minutes=59))]}, []),
        ({"canaries": [canary(max_hours=None)]}, []),
        ({"canaries": [canary(forecast_days=1e12)]}, []),
        ({"runs": [run("r2", "failed"), run("r1", "failed")]}, ["runs_failed", "last 2 runs of reviews", "r2"]),
        ({"runs": [run("r2", "failed")]}, []),
        ({"runs": [run("r3", "finished"), run("r2", "failed"), run("r1", "failed")]}, []),
        ({"runs": [run("r2", "failed"), run("x", "failed", "movies")]}, []),
    ],
)
def test_what_is_wrong_is_one_alarm_in_a_sentence(change: dict[str, Any], words: list[str]) -> None:
    found = find_conditions(well() | change, AlarmSettings(), NOW)
    assert len(found) == bool(words)
    said = " ".join(f"{one.name} {one.sentence}" for one in found)
    assert all(word in said for word in words), said


def test_thresholds_are_settings() -> None:
    settings = AlarmSettings(
        spool_bytes=1, disk_free=0.9, backup_hours=None, failed_runs=1, canary_idle_hours=0.01, off=["dead_letters"]
    )
    measured = well() | {"backups": {"newest": NOW - timedelta(days=99), "failure": None}, "dead_letters": 7}
    names = [one.name for one in find_conditions(measured, settings, NOW)]
    assert names == ["disk_low", "spool_lag", "canary_stuck", "runs_failed"]


@pytest.mark.parametrize("name", ["repeat_hours", "backup_hours", "canary_idle_hours", "canary_overrun"])
def test_a_time_that_no_clock_reaches_is_refused(name: str) -> None:
    for value in (1e12, float("inf")):
        with pytest.raises(ValueError, match=name):
            AlarmSettings.model_validate({name: value})


def test_settings_of_alarms_change_without_a_restart() -> None:
    assert CONTROL.is_live("alarms.hold_seconds.engine_down") and CONTROL.is_live("alarms.off")


def test_only_alarms_about_canaries_and_runs_belong_to_a_model() -> None:
    measured = well() | {
        "canaries": [canary(idle_since=NOW - timedelta(days=1))],
        "runs": [run("r2", "failed"), run("r1", "failed")],
        "dead_letters": 1,
    }
    found = {one.name: one.model for one in find_conditions(measured, AlarmSettings(), NOW)}
    assert found == {"canary_stuck": "reviews", "runs_failed": "reviews", "dead_letters": None}


def test_text_from_outside_stays_on_its_line() -> None:
    engine = {"url": "http://e", "ready": False, "missing": [], "error": "down\nSee https://evil\x1b[2J" + "x" * 9999}
    (found,) = find_conditions(well() | {"engines": [engine]}, AlarmSettings(), NOW)
    assert "\n" not in found.sentence and "\x1b" not in found.sentence and len(found.sentence) < 400


def test_every_alarm_has_a_rule_and_a_section_of_the_runbook_that_names_it() -> None:
    assert {rule.name for rule in RULES} == set(get_args(AlarmName))
    text = RUNBOOK.read_text(encoding="utf-8")
    for rule in RULES:
        section = text.partition(f"\n## {rule.section}\n")[2].partition("\n## ")[0]
        assert f"`{rule.name}`" in section, (rule.name, rule.section)


def test_what_was_not_measured_is_not_known() -> None:
    measured = {name: part for name, part in well().items() if name != "gateways"}
    names = {"gateway_missing", "gateway_outdated", "spool_lag", "interactions_dropped"}
    assert unmeasured(measured) == names and not find_conditions(measured, AlarmSettings(), NOW)


DOWN = Condition("engine_down", "http://e", None, "The engine at http://e is not ready.", "Restart it.")
LETTERS = Condition("dead_letters", "", None, "3 records.", "Replay them.")


class Checks:
    """Checks one after another, and what they sent."""

    def __init__(self, settings: AlarmSettings | None = None, **how: Any) -> None:
        self.settings, self.how = settings or AlarmSettings(hold_seconds={"engine_down": 60}), how
        self.known: dict[Key, Alarm] = {}

    def at(self, seconds: float, *found: Condition, **how: Any) -> list[tuple[str, str]]:
        now = NOW + timedelta(seconds=seconds)
        self.known, notices = advance(self.known, found, now, self.settings, **self.how | how)
        return [(notice.change, notice.alarm.condition.name) for notice in notices]


def test_an_alarm_is_sent_once_when_it_begins_and_once_when_it_ends() -> None:
    checks = Checks()
    sent = [checks.at(seconds, DOWN) for seconds in (0, 15, 59, 60, 75, 9999)]
    assert sent == [[], [], [], [("began", "engine_down")], [], []]
    assert [checks.at(seconds) for seconds in (10_014, 10_058, 10_059, 10_100)] == [
        [],
        [],
        [("ended", "engine_down")],
        [],
    ]
    assert checks.known == {}


def test_a_blink_sends_nothing_and_one_that_flaps_is_one_alarm() -> None:
    checks = Checks()
    assert checks.at(0, DOWN) == checks.at(45) == checks.at(46, DOWN) == checks.at(100, DOWN) == []
    assert checks.at(106, DOWN) == [("began", "engine_down")]
    for seconds in range(120, 1200, 60):
        assert checks.at(seconds) == checks.at(seconds + 30, DOWN) == []
    assert checks.at(1200) == [] and checks.at(1300) == [("ended", "engine_down")]


def test_an_open_alarm_is_sent_again_after_the_interval() -> None:
    checks = Checks(AlarmSettings(hold_seconds={"engine_down": 0}, repeat_hours=1))
    assert [checks.at(hours * 1800, DOWN) for hours in range(5)] == [
        [("began", "engine_down")],
        [],
        [("repeated", "engine_down")],
        [],
        [("repeated", "engine_down")],
    ]


def test_each_alarm_and_each_subject_has_its_own_time() -> None:
    checks = Checks(AlarmSettings(hold_seconds={"engine_down": 60, "dead_letters": 0}))
    other = Condition("engine_down", "http://f", None, "The engine at http://f is not ready.", "Restart it.")
    assert checks.at(0, DOWN, LETTERS) == [("began", "dead_letters")]
    assert checks.at(30, DOWN, other) == [("ended", "dead_letters")]
    assert checks.at(60, DOWN, other) == [("began", "engine_down")]
    assert checks.at(90, other) == [("began", "engine_down")] and len(checks.known) == 2


def test_a_part_that_cannot_be_measured_ends_no_alarm() -> None:
    checks = Checks(AlarmSettings(hold_seconds={"dead_letters": 0}))
    checks.at(0, LETTERS)
    assert checks.at(15, unknown={"dead_letters"}) == checks.at(9999, unknown={"dead_letters"}) == []
    assert checks.at(10_000) == [("ended", "dead_letters")]


def test_a_silenced_alarm_is_sent_when_the_silence_ends_and_its_end_if_its_beginning_was() -> None:
    checks = Checks(AlarmSettings(hold_seconds={"dead_letters": 0}, repeat_hours=1))
    quiet: dict[str, Any] = {"silenced": lambda condition: condition == LETTERS}
    assert checks.at(0, LETTERS, **quiet) == [] and checks.at(10, LETTERS) == [("began", "dead_letters")]
    assert checks.at(7200, LETTERS, **quiet) == []
    assert checks.at(7300, **quiet) == [("ended", "dead_letters")]
    assert checks.at(8000, LETTERS, **quiet) == checks.at(8100, **quiet) == []
