"""The conditions of alarms: what is wrong, by the measured state of each part. Pure functions.

Each rule names its alarm, the part that it needs, its hold time, and the section of the runbook.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from core.plain_line import one_line
from core.settings import AlarmName, AlarmSettings

Severity = Literal["critical", "warning"]
# A target that refuses so often in a row is more than busy.
MOST_REFUSALS = 3
# A forecast of a few minutes says little: half an hour more is no sign of a stuck canary.
LEAST_OVERRUN = timedelta(hours=1)
# Control ends a canary at its limit. One that is so much older than its limit was not ended.
PAST_LIMIT = 1.1
LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is wrong. `subject` tells several of one alarm apart. A model's alarm is shown to its keys."""

    sentence: str
    fix: str
    subject: str = ""
    model: str | None = None


Find = Callable[[Any, AlarmSettings, datetime], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Rule:
    """An alarm: how grave it is, how long it must last in seconds, the part it is about, and where to read on."""

    name: AlarmName
    severity: Severity
    hold_seconds: float
    part: str
    section: str
    find: Find


@dataclass(frozen=True, slots=True)
class Condition:
    """An alarm that is present now."""

    name: AlarmName
    subject: str
    model: str | None
    sentence: str
    fix: str

    @property
    def rule(self) -> Rule:
        """Its rule."""
        return BY_NAME[self.name]


def find_conditions(measured: Mapping[str, Any], settings: AlarmSettings, now: datetime) -> list[Condition]:
    """Every condition that is present. Rules of parts that could not be measured find nothing."""
    return [
        Condition(rule.name, one_line(found.subject)[:LONGEST_TEXT], found.model, one_line(found.sentence), found.fix)
        for rule in RULES
        if rule.part in measured and rule.name not in settings.off
        for found in rule.find(measured[rule.part], settings, now)
    ]


def unmeasured(measured: Mapping[str, Any]) -> set[str]:
    """The alarms that nothing is known of, because their part could not be measured."""
    return {rule.name for rule in RULES if rule.part not in measured}


def _engine_down(engines: list[dict[str, Any]], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    fix = "Run: loraloop doctor   tail -50 data/logs/engine.log"
    if not engines:
        yield Found("No engine has been checked yet.", fix)
    for engine in engines:
        if not engine["ready"]:
            why = str(engine["error"])[:LONGEST_TEXT] or f"it lacks {', '.join(engine['missing'])}"
            yield Found(f"The engine at {engine['url']} is not ready: {why}.", fix, engine["url"])


def _gateway_missing(gateways: list[dict[str, Any]], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    if not gateways:
        fix = "Start a gateway, or check its gateway.control_url and LORALOOP_INTERNAL_KEY."
        yield Found("No gateway has asked for routes in the last minute.", fix)


def _gateway_outdated(gateways: list[dict[str, Any]], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    for one in gateways:
        if not one["up_to_date"]:
            fix = "Run: tail -50 data/logs/gateway.log   A rollback has not reached this gateway."
            yield Found(f"The gateway {one['gateway']} does not have the newest routes.", fix, one["gateway"])


def _spool_lag(gateways: list[dict[str, Any]], settings: AlarmSettings, _: datetime) -> Iterator[Found]:
    for one in gateways:
        if one["unshipped"] > settings.spool_bytes:
            said = f"The gateway {one['gateway']} has {one['unshipped'] / 1e6:.0f} MB that control has not received."
            yield Found(said, "Run: tail -50 data/logs/control.log   loraloop top --once", one["gateway"])


def _interactions_dropped(gateways: list[dict[str, Any]], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    for one in gateways:
        if one["dropped"]:
            said = f"The gateway {one['gateway']} could not keep {one['dropped']} interactions; is its disk full?"
            yield Found(said, "Free space on the disk of the gateway. Its restart resets the count.", one["gateway"])


def _dead_letters(count: int, _: AlarmSettings, __: datetime) -> Iterator[Found]:
    if count:
        fix = "Run: loraloop dead-letters   Remove the cause, then: loraloop dead-letters replay --all"
        yield Found(f"{count} records made no row and were set aside.", fix)


def _disk_low(disk: dict[str, int], settings: AlarmSettings, _: datetime) -> Iterator[Found]:
    if disk["free"] < min(settings.disk_free * disk["total"], settings.disk_free_gib * 2**30):
        said = f"The disk has {disk['free'] / 2**30:.1f} GiB left, {disk['free'] / disk['total']:.0%} of it."
        yield Found(said, "Free space on the disk of the data folder, or move it to a larger one.")


def _backup_failed(backups: dict[str, Any], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    # A backup that was sent to its end deletes the failure. One that has only begun has a time, and proves nothing.
    if failure := backups["failure"]:
        said = f"The backup of {failure['time']:%Y-%m-%d %H:%M} UTC failed: {failure['reason'][:LONGEST_TEXT]}"
        yield Found(said, "Remove the cause, then: loraloop backup create PATH")


def _backup_overdue(backups: dict[str, Any], settings: AlarmSettings, now: datetime) -> Iterator[Found]:
    newest, hours = backups["newest"], settings.backup_hours
    if newest and hours and now - newest >= timedelta(hours=hours):
        said = f"The newest backup is {lasting(now - newest)} old, and {lasting(timedelta(hours=hours))} are accepted."
        yield Found(said, "Run: loraloop backup create PATH")


def _ledger_broken(ledger: dict[str, Any], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    if not ledger["ok"]:
        yield Found(f"The ledger is broken. {ledger['reason']}", "Run: loraloop promotions verify --json")


def _audit_log_broken(chain: dict[str, Any], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    if not chain["ok"]:
        yield Found(f"The audit log is broken. {chain['reason']}", "Run: loraloop audit verify --json")


def _audit_log_failing(audit_log: dict[str, Any], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    if audit_log["failing"]:
        said = "The audit log cannot be written. Acts are refused until it can."
        yield Found(said, "Run: df -h   tail -50 data/logs/control.log")


def _canary_stuck(canaries: list[dict[str, Any]], settings: AlarmSettings, now: datetime) -> Iterator[Found]:
    for canary in canaries:
        model, version = canary["model"], f"{canary['model']}@{canary['version']}"
        if reason := _why_stuck(canary, settings, now):
            fix = f"Open the page of the model. To end it: loraloop canary stop {model} -m REASON"
            yield Found(f"The canary {version} is stuck: {reason}", fix, model, model)


def _why_stuck(canary: dict[str, Any], settings: AlarmSettings, now: datetime) -> str:
    """Why a canary counts as stuck, empty if it does not. One that waits for a person, or is paused, does not."""
    if canary["waits"]:
        return ""
    age, idle = now - canary["started"], now - canary["idle_since"]
    if idle >= timedelta(hours=settings.canary_idle_hours):
        return f"no request reached it for {lasting(idle)}."
    limit, days = canary["max_hours"], canary["forecast_days"]
    if limit is not None and age > PAST_LIMIT * timedelta(hours=limit):
        return f"it has run for {lasting(age)}, and its limit was {lasting(timedelta(hours=limit))}."
    # In days, because a forecast may be longer than a timedelta can be.
    if days is not None and age > LEAST_OVERRUN and age / timedelta(days=1) > settings.canary_overrun * days:
        return f"it has run for {lasting(age)}, and the forecast was {lasting(timedelta(days=days))}."
    return ""


def _runs_failed(runs: list[dict[str, Any]], settings: AlarmSettings, _: datetime) -> Iterator[Found]:
    """`runs` has the newest ended runs of each model, newest first."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_model.setdefault(run["model"], []).append(run)
    for model, ended in by_model.items():
        newest = ended[: settings.failed_runs]
        if len(newest) == settings.failed_runs and all(run["state"] == "failed" for run in newest):
            said = "The last run" if len(newest) == 1 else f"The last {len(newest)} runs"
            fix = f"Run: loraloop runs show {newest[0]['id']}"
            yield Found(f"{said} of {model} failed, the newest is {newest[0]['id']}.", fix, model, model)


def _target_refusing(targets: list[dict[str, Any]], _: AlarmSettings, __: datetime) -> Iterator[Found]:
    for one in targets:
        if one["refusals"] >= MOST_REFUSALS:
            waits = one["behind"] + one["alarms_behind"]
            said = f"The notification target {one['target']} refused {one['refusals']} times; {waits} messages wait."
            yield Found(said, "Correct its URL, then: loraloop notifications test", one["target"])


RULES: tuple[Rule, ...] = (
    Rule("ledger_broken", "critical", 0, "ledger", "Broken ledger", _ledger_broken),
    Rule("audit_log_broken", "critical", 0, "audit_chain", "Broken ledger", _audit_log_broken),
    Rule("audit_log_failing", "critical", 60, "audit_log", "Broken ledger", _audit_log_failing),
    Rule("engine_down", "critical", 120, "engines", "Engine down", _engine_down),
    Rule("gateway_missing", "critical", 60, "gateways", "Gateway not heard of", _gateway_missing),
    Rule("interactions_dropped", "critical", 0, "gateways", "Disk full", _interactions_dropped),
    Rule("disk_low", "critical", 60, "disk", "Disk full", _disk_low),
    Rule("backup_failed", "critical", 0, "backups", "Backup failed or overdue", _backup_failed),
    Rule("backup_overdue", "warning", 0, "backups", "Backup failed or overdue", _backup_overdue),
    Rule("gateway_outdated", "warning", 60, "gateways", "Gateway not heard of", _gateway_outdated),
    Rule("spool_lag", "warning", 300, "gateways", "Spool lag", _spool_lag),
    Rule("dead_letters", "warning", 60, "dead_letters", "Dead letters", _dead_letters),
    Rule("canary_stuck", "warning", 0, "canaries", "Stuck canary", _canary_stuck),
    Rule("runs_failed", "warning", 0, "runs", "Failed runs", _runs_failed),
    Rule("target_refusing", "warning", 300, "notifications", "Notifications", _target_refusing),
)
BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}


def lasting(time: timedelta) -> str:
    """A duration in words."""
    minutes = time.total_seconds() / 60
    if minutes < 120:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"
