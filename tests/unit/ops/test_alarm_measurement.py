"""Facts about what alarms are measured by: runs, canaries, backups, and parts that fail."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import alarms as alarms_table
from core.db import live_tests, runs
from core.db.store import Store
from core.errors import NotReady
from core.ledger import append
from core.records import Decision, Verdict
from core.settings import AlarmSettings, CanarySettings, build
from eval.gates.live_arms import Plan
from ops.alarms import measurement
from ops.alarms.conditions import find_conditions, unmeasured
from ops.alarms.measurement import Measurement
from ops.backup.archive import Backups
from ops.ledger_verifier import LedgerWatch, verify_audit_log
from rollout import live_plan
from tests.support.console import Console, look_body

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


def conditions(console: Console) -> dict[str, str]:
    found = Measurement(console.control, list).measure()
    return {one.name: one.sentence for one in find_conditions(found, AlarmSettings(), NOW)}


def test_the_parts_are_measured_from_the_store() -> None:
    console = Console()
    assert set(conditions(console)) == {"engine_down", "gateway_missing"}
    for number, state in enumerate(("finished", "failed", "cancelled", "failed")):
        time = NOW - timedelta(hours=9 - number)
        runs.add(
            console.store, id=f"r{number}", model="reviews", trigger="t", state="x", started=time, feedback_until=time
        )
        runs.set_state(console.store, state=state, reason="So.", time=time, id=f"r{number}")
    found = conditions(console)
    assert found["runs_failed"] == "The last 2 runs of reviews failed, the newest is r3."
    del console.control.settings.models["reviews"]  # runs of a model that was removed are nobody's work any more
    assert "runs_failed" not in conditions(console)


def begin_canary(console: Console, started: datetime, plan: str = "{}", **forecast: Any) -> None:
    runs.add(
        console.store,
        id="run-1",
        model="reviews",
        trigger="t",
        state="canary",
        started=started,
        feedback_until=started,
    )
    live_tests.add_canary(
        console.store,
        run_id="run-1",
        model="reviews",
        control=6,
        candidate=7,
        share=0.1,
        started=started,
        score_sd=0.5,
        plan=plan,
        decision="{}",
    )
    row = Decision("dec-c", started, "reviews", 6, 7, Verdict.CANARY_STARTED, "So.", "t", "scheduler", run_id="run-1")
    with console.store.transaction() as transaction:
        append(transaction, row if not forecast else Decision(**{**as_dict(row), "live": {"forecast": forecast}}))


def as_dict(row: Decision) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def test_a_canary_without_requests_is_found_although_its_champion_has_some() -> None:
    console = Console()
    begin_canary(console, NOW - timedelta(hours=9))
    clock = {"now": NOW}
    console.control.clock = lambda: clock["now"]
    measure = Measurement(console.control, list)

    def idle() -> timedelta:
        (canary,) = measure.measure()["canaries"]
        return clock["now"] - canary["idle_since"]

    assert idle() == timedelta(hours=9)
    console.look(1, look_body(40, 0.0, None))
    clock["now"] += timedelta(hours=1)
    assert idle() == timedelta()
    for hour in range(2, 5):  # the champion has more requests, and the canary has none
        body = look_body(40, 0.0, None)
        body["control"]["requests"] += hour
        console.look(hour, body)
        clock["now"] += timedelta(hours=1)
        assert idle() == timedelta(hours=hour - 1)
    measure = Measurement(console.control, list)  # control starts again
    assert idle() == timedelta(hours=4, minutes=-1)  # the first look with as many requests as the newest
    body["canary"]["requests"] -= 30  # of a user whose data was erased
    console.look(9, body)
    assert idle() == timedelta(hours=4, minutes=-1)
    body["canary"]["requests"] += 1
    console.look(10, body)
    assert idle() == timedelta()


def test_a_canary_is_compared_with_its_forecast() -> None:
    console = Console()
    begin_canary(console, NOW - timedelta(hours=5), days=0.1)
    (canary,) = Measurement(console.control, list).measure()["canaries"]
    assert (canary["forecast_days"], canary["max_hours"], canary["waits"]) == (0.1, 24, False)


def test_a_canary_has_the_limit_that_it_began_with() -> None:
    console = Console()
    plan = live_plan.TestPlan(CanarySettings(max_hours=240), Plan(0.1, 0.5)).plain()
    begin_canary(console, NOW - timedelta(hours=5), json.dumps(plan))
    (canary,) = Measurement(console.control, list).measure()["canaries"]
    assert canary["max_hours"] == 240


def test_an_audit_log_that_was_not_walked_yet_is_not_known() -> None:
    console = Console()
    console.control.audit_watch = LedgerWatch(console.store, lambda: NOW, verify_audit_log, "audit log")
    measure = Measurement(console.control, list).measure
    assert unmeasured(measure()) == {"audit_log_broken"}
    console.control.audit_watch.walk()
    assert measure()["audit_chain"]["ok"] and unmeasured(measure()) == set()


def test_a_part_that_fails_leaves_the_others_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> None:
        raise OSError("gone")

    console = Console()
    monkeypatch.setattr(measurement, "disk", broken)
    measure = Measurement(console.control, list)
    for _ in range(3):
        found = measure.measure()
    assert "disk" not in found and "ledger" in found
    assert caplog.text.count("alarms about disk cannot be checked") == 1


def test_a_backup_that_fails_is_an_alarm_until_one_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = Store(tmp_path / "loraloop.duckdb"), {"now": NOW}
    settings = build({"data": str(tmp_path), "models": {"reviews": {"labels": ["a", "b"]}}})
    backups = Backups(store=store, settings=settings, clock=lambda: clock["now"])

    def said() -> list[str]:
        parts = {
            "backups": {"newest": alarms_table.newest_backup(store), "failure": alarms_table.backup_failure(store)}
        }
        return [one.sentence for one in find_conditions(parts, AlarmSettings(), clock["now"])]

    def full(_: Any) -> None:
        raise NotReady("The copy of the store needs 2.0 GB and 1.0 GB are free.")

    with monkeypatch.context() as patched:
        patched.setattr(backups, "_require_space", full)
        with pytest.raises(NotReady):
            backups.make()
    assert said() == [
        "The backup of 2026-03-01 03:00 UTC failed: The copy of the store needs 2.0 GB and 1.0 GB are free."
    ]
    clock["now"] += timedelta(minutes=1)
    list(backups.make()[1])
    assert said() == []
    clock["now"] += timedelta(minutes=1)
    _, stream = backups.make()
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert "the caller ended the connection" in said()[0]
    clock["now"] += timedelta(minutes=1)
    size, stream = backups.make()
    assert "the caller ended the connection" in said()[0]  # the next backup has only begun
    received = 0
    for piece in stream:
        received += len(piece)
        if received == size:  # the caller has all of it, and leaves before the stream has found its end
            break
    stream.close()  # type: ignore[attr-defined]
    assert received == size and said() == []
    store.close()
