"""Facts about alarms in control: what is kept over a restart, what is sent, and what API, console and metrics show."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.db import alarms as alarms_table
from core.db import runs
from core.db.alarms import Silence
from core.db.store import Store
from core.model_folder import ModelFolder
from core.settings import AlarmName, AlarmSettings, build
from ops.alarms import alarm_log
from ops.alarms.alarm_log import AlarmLog
from ops.alarms.watch import AlarmWatch, urgent
from ops.apps import control_metrics
from ops.apps.control import create_app
from ops.cli.app import app
from ops.notify.message import Message
from ops.notify.notifier import Notifier
from ops.notify.targets import Target
from tests.support.console import Console
from tests.support.console_security import KeyedConsole
from tests.support.environment import clear_settings
from tests.support.running_control import RunningControl, served_control
from tests.support.wait import wait_until

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


class World:
    """A store in a file, parts that a test sets, a target that keeps what it takes, and a clock that moves."""

    def __init__(self, path: Path, settings: AlarmSettings) -> None:
        self.path, self.settings, self.now = path, settings, NOW
        self.parts: dict[str, Any] = {"dead_letters": 0}
        self.taken: list[Message] = []
        self.accepts = True
        self.open()

    def open(self) -> None:
        """Control starts."""
        self.store = Store(self.path)
        self.log = AlarmLog(self.store, lambda: self.now)
        self.watch = AlarmWatch(
            measure=lambda: dict(self.parts),
            settings=lambda: self.settings,
            alarms=self.log,
            clock=lambda: self.now,
        )
        self.target = Target("slack", "f1", self.take)
        self.notifier = Notifier(
            store=self.store,
            targets=[self.target],
            verdicts=[],
            alarms=self.log,
            ops_url="http://ops",
            clock=lambda: self.now,
        )

    def restart(self, seconds: float = 0) -> None:
        """Control ends, and starts again later."""
        self.store.close()
        self.now += timedelta(seconds=seconds)
        self.open()

    def take(self, message: Message) -> bool:
        if self.accepts:
            self.taken.append(message)
        return self.accepts

    def check(self, seconds: float, letters: int) -> list[str]:
        """A check after some seconds, and the titles that were sent after it."""
        self.now += timedelta(seconds=seconds)
        self.parts["dead_letters"] = letters
        self.watch.check()
        before = len(self.taken)
        self.notifier.step(self.target)
        return [message.title for message in self.taken[before:]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "s.duckdb", AlarmSettings(hold_seconds={"dead_letters": 60}, repeat_hours=24))
    yield made
    made.store.close()


def test_a_restart_sends_nothing_twice_and_forgets_no_open_alarm(world: World) -> None:
    assert world.check(0, 3) == world.check(59, 3) == []
    assert world.check(1, 3) == ["Alarm dead_letters began"]
    world.restart(7200)
    assert world.check(0, 3) == world.check(15, 4) == []
    (shown,) = world.watch.alarms()
    assert (shown["state"], shown["since"], shown["sent"]) == ("open", NOW, NOW + timedelta(seconds=60))
    world.restart(7200)
    assert world.check(0, 0) == world.check(59, 0) == []
    assert world.check(1, 0) == ["Alarm dead_letters ended"]
    world.restart()
    assert world.check(99, 0) == [] and world.watch.alarms() == []


def test_an_alarm_without_hold_time_outlasts_a_restart_until_its_part_was_heard_of(world: World) -> None:
    world.settings = AlarmSettings(hold_seconds={"dead_letters": 0})
    assert world.check(0, 3) == ["Alarm dead_letters began"]
    world.restart(600)
    assert world.check(0, 0) == world.check(59, 3) == []
    world.restart(600)
    assert world.check(0, 0) == world.check(59, 0) == []
    assert world.check(1, 0) == ["Alarm dead_letters ended"]


def test_an_alarm_that_no_target_took_is_sent_after_a_restart(world: World) -> None:
    world.accepts = False
    assert world.check(0, 3) == world.check(60, 3) == []
    (delivery,) = world.notifier.deliveries()
    assert (delivery.refusals, delivery.alarms_behind, delivery.behind) == (1, 1, 0)
    world.accepts = True
    world.restart()
    assert world.check(0, 3) == ["Alarm dead_letters began"]


def test_the_message_of_an_alarm_names_fix_runbook_and_head(world: World) -> None:
    world.check(0, 3)
    world.check(60, 3)
    (said,) = world.taken
    lines = said.body.splitlines()
    assert lines[0] == "3 records made no row and were set aside."
    assert lines[1] == "Since 2026-03-01 03:00:00 UTC. Severity: warning."
    assert "loraloop dead-letters replay" in lines[2] and lines[3] == "See docs/runbook.md, Dead letters."
    assert lines[4] == "http://ops/system" and lines[5].startswith("Ledger: head ")
    assert (said.kind, said.type, said.data["alarm"]) == ("warning", "alarm.began", "dead_letters")
    world.check(0, 0)
    world.check(60, 0)
    ended = world.taken[-1]
    assert ended.kind == "success" and "until 2026-03-01 03:02:00 UTC" in ended.body and "replay" not in ended.body
    assert ended.id != said.id and json.dumps(ended.data)


def test_a_store_that_cannot_be_written_delays_no_alarm_and_sends_none_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("core.db.alarms.replace", full)
        patched.setattr("core.db.notifications.set_position", full)
        world.check(0, 3)
        world.now += timedelta(seconds=60)
        world.watch.check()
        for _ in range(3):
            with suppress(OSError):
                world.notifier.step(world.target)
        assert [message.type for message in world.taken] == ["alarm.began"]
        assert alarms_table.events(world.store) == []
    assert world.check(15, 3) == []
    assert [event.change for event in alarms_table.events(world.store)] == ["began"]
    world.restart()
    assert world.check(0, 3) == []


def test_only_the_newest_events_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_log, "MOST_EVENTS", 4)
    world.settings = AlarmSettings(hold_seconds={"dead_letters": 0})
    world.restart()
    for _ in range(5):
        world.check(15, 1)
        world.check(15, 0)
    assert len(world.taken) == 10 and len(alarms_table.events(world.store)) == 4
    numbers = [event.seq for event in world.log.after(0)]
    assert len(numbers) == 4 and numbers == sorted(set(numbers))


def test_nothing_is_written_while_nothing_changes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.check(0, 3)
    world.check(60, 3)
    written: list[Any] = []
    monkeypatch.setattr("core.db.alarms.replace", lambda *_: written.append(1))
    for letters in range(4, 9):
        world.check(15, letters)
    assert written == [] and "8 records" in world.watch.alarms()[0]["sentence"]


def test_a_silence_holds_over_a_restart_and_ends_in_time(world: World) -> None:
    world.log.silence(Silence("dead_letters", None, NOW + timedelta(hours=1), "ada", "known"))
    world.check(0, 3)
    assert world.check(60, 3) == []
    world.restart()
    assert world.check(60, 3) == []
    (shown,) = world.watch.alarms()
    assert shown["silence"]["comment"] == "known" and urgent([shown]) == [] and shown["state"] == "open"
    assert world.check(3600, 3) == ["Alarm dead_letters began"]
    world.log.silence(Silence("dead_letters", "other", world.now + timedelta(hours=1), "ada", ""))
    assert world.watch.alarms()[0]["silence"] is None
    world.log.silence(Silence("dead_letters", "other", world.now, "ada", ""))
    assert alarms_table.silences(world.store, now=NOW) == []


def test_the_end_of_a_silence_without_a_subject_ends_those_of_every_subject(world: World) -> None:
    until = NOW + timedelta(hours=1)
    for name, subject in (("engine_down", "http://a"), ("engine_down", "http://b"), ("spool_lag", "g")):
        world.log.silence(Silence(name, subject, until, "ada", ""))
    world.log.silence(Silence("engine_down", "http://b", NOW, "ada", ""))
    world.log.silence(Silence("engine_down", None, until, "ada", ""))
    left = [(one.name, one.subject) for one in alarms_table.silences(world.store, now=NOW)]
    assert sorted(left, key=str) == [("engine_down", "http://a"), ("engine_down", None), ("spool_lag", "g")]
    world.log.silence(Silence("engine_down", None, NOW, "ada", ""))
    assert [one.name for one in alarms_table.silences(world.store, now=NOW)] == ["spool_lag"]


def test_metrics_have_a_series_of_every_alarm(world: World) -> None:
    names = set(get_args(AlarmName))
    assert {name for name, _, _ in world.watch.counts()} == names
    world.check(0, 3)
    assert all(count == 0 for _, _, count in world.watch.counts())
    world.check(60, 3)
    control: Any = Console().control
    page = control_metrics.scrape(control, world.watch).decode().splitlines()
    assert 'loraloop_alarm{alarm="dead_letters",severity="warning"} 1.0' in page
    assert sum(line.startswith("loraloop_alarm{") for line in page) == len(names)
    assert f"loraloop_alarms_checked_timestamp_seconds {world.now.timestamp():.10g}".split()[0] in " ".join(page)


def test_pages_and_routes_show_alarms_and_a_key_of_a_model_sees_its_own(console: KeyedConsole) -> None:
    watch: AlarmWatch = console.browser.app.state.alarms  # type: ignore[attr-defined]
    assert "Not checked for alarms yet" in pages(console, "reader", "/system")
    for number in range(2):
        runs.add(
            console.control.store,
            id=f"r{number}",
            model="reviews",
            trigger="t",
            state="x",
            started=console.clock.now,
            feedback_until=console.clock.now,
        )
        runs.set_state(
            console.control.store, state="failed", reason="<script>", time=console.clock.now, id=f"r{number}"
        )
    watch.check()
    html = pages(console, "reader", "/system")
    assert "The last 2 runs of reviews failed" in html and "Runbook: Failed runs." in html
    assert "No engine has been checked yet." in html and "not sent yet" in html
    assert "The last 2 runs of reviews failed" in pages(console, "reader", "/overview")
    ring = console.control.keyring
    limited = ring.make(NewKey("limited", (Scope.OPS_READ,), models=("reviews",)), "test").key
    own = ask(console, "/api/alarms?model=reviews", limited)
    assert [one["name"] for one in own.json()] == ["runs_failed"]
    assert ask(console, "/api/alarms", limited).status_code == 403
    texts = [need["text"] for need in ask(console, "/overview.json?model=reviews", limited).json()["needs"]]
    assert texts == ["The last 2 runs of reviews failed, the newest is r1."]
    everything = ask(console, "/api/alarms", console.made["reader"].key).json()
    assert [one["severity"] for one in everything] == ["critical", "critical", "warning"]


def ask(console: KeyedConsole, path: str, key: str) -> Any:
    return console.browser.get(path, headers={"Authorization": f"Bearer {key}"})


def pages(console: KeyedConsole, name: str, path: str) -> str:
    return ask(console, path, console.made[name].key).text


def test_a_silence_is_an_act_and_needs_ops_write(console: KeyedConsole) -> None:
    body = {"name": "engine_down", "subject": "http://e", "hours": 2, "comment": "new driver"}

    def post(key: str, **changes: Any) -> Any:
        headers = {"Authorization": f"Bearer {console.made[key].key}"}
        return console.browser.post("/api/alarms/silence", json=body | changes, headers=headers)

    assert post("reader").status_code == 403
    assert post("actor").json()["until"] == "2026-03-01T05:00:00Z"
    (silence,) = alarms_table.silences(console.control.store, now=console.clock.now)
    assert silence.comment == "new driver" and silence.actor.startswith("actor (key")
    refused = post("actor", name="engine_dwn")
    assert refused.status_code == 422 and "name" in refused.text and "engine_down" in refused.text
    assert post("actor", hours=-1).status_code == 422
    assert post("actor", hours=0).json()["until"] is None
    assert alarms_table.silences(console.control.store, now=console.clock.now) == []
    rows = audit_rows(console)
    assert ("alarms.silence", "ok", "engine_down") in rows and ("alarms.silence", "refused", "") in rows


def audit_rows(console: KeyedConsole) -> list[tuple[str, str, str]]:
    console.control.audit.try_flush(all_of_them=True)
    rows = console.control.store._connection.execute("SELECT act, outcome, object FROM audit_log").fetchall()
    return [(act, outcome, thing) for act, outcome, thing in rows]


def test_commands_list_and_silence_alarms(control: RunningControl) -> None:
    watch: AlarmWatch = control.app.state.alarms
    watch.check()
    listed = control.run("alarms", "--json")
    assert listed.exit_code == 0, listed.output
    names = [one["name"] for one in json.loads(listed.stdout)]
    assert "gateway_missing" in names
    assert control.run("alarms", "silence", "gateway_missing", "--hours", "1", "-m", "planned").exit_code == 0
    table = control.run("alarms")
    assert "No gateway has asked for routes" in " ".join(table.stdout.split()) and "silenced until" in table.stdout
    assert json.loads(control.run("alarms", "--model", "reviews", "--json").stdout) == []
    done = CliRunner().invoke(app, ["alarms", "silence", "gateway_mising", "--hours", "1"])
    assert done.exit_code == 2 and "gateway_missing?" in done.output


def test_a_running_control_sends_an_alarm_by_itself_and_after_a_restart_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear_settings(monkeypatch)
    taken: list[str] = []

    def take(message: Message) -> bool:
        taken.append(message.type)
        return True

    monkeypatch.setattr("ops.apps.control.targets", lambda _: [Target("slack", "f1", take)])
    alarms = {"hold_seconds": {"gateway_missing": 0}, "off": ["engine_down", "disk_low"]}
    content = {"data": str(tmp_path), "access": "open", "models": {"reviews": {"labels": ["a", "b"]}}, "alarms": alarms}
    for _ in range(2):
        made = create_app(settings=build(content), base=ModelFolder("base", tmp_path))
        with TestClient(made, base_url="http://127.0.0.1:8081") as client:
            wait_until(lambda: taken and client.get("/api/alarms").json())
            watch: AlarmWatch = made.state.alarms
            watch.check()
            assert [one["name"] for one in client.get("/api/alarms").json()] == ["gateway_missing"]
            assert [event.change for event in watch.log.after(0)] == ["began"]
            assert 'loraloop_alarm{alarm="gateway_missing",severity="critical"} 1.0' in client.get("/metrics").text
    assert taken == ["alarm.began"]
