"""Open alarms, their events and silences, and what alarms need to know of backups, canaries and runs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from core.db.store import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm that began and has not ended. `sent` is the time of its newest message, None while it is silenced."""

    name: str
    subject: str
    model: str | None
    sentence: str
    fix: str
    since: datetime
    opened: datetime
    sent: datetime | None


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """A message about an alarm. `change` is `began`, `repeated` or `ended`, and `since` is when the alarm began."""

    seq: int
    id: str
    time: datetime
    change: str
    name: str
    subject: str
    model: str | None
    sentence: str
    fix: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Silence:
    """No message is sent about an alarm before `until`. A subject of None is every subject."""

    name: str
    subject: str | None
    until: datetime
    actor: str
    comment: str


def open_alarms(db: Database) -> list[OpenAlarm]:
    """Every alarm that has not ended."""
    return [OpenAlarm(**row) for row in db.rows("alarms.open")]


def replace(transaction: Transaction, alarms: Sequence[OpenAlarm]) -> None:
    """Replace the open alarms."""
    transaction.run("alarms.clear")
    transaction.run_many("alarms.add", [asdict(alarm) for alarm in alarms])


def events(db: Database) -> list[AlarmEvent]:
    """The kept events, oldest first."""
    return [AlarmEvent(**row) for row in db.rows("alarms.events")]


def add_events(transaction: Transaction, events: Sequence[AlarmEvent], *, kept: int) -> None:
    """Add events, and delete all but the newest `kept`."""
    transaction.run_many("alarms.add_event", [asdict(event) for event in events])
    transaction.run("alarms.trim_events", kept=kept)


def silences(db: Database, *, now: datetime) -> list[Silence]:
    """Every silence that has not ended."""
    return [Silence(**row) for row in db.rows("alarms.silences", now=now)]


def end_silence(transaction: Transaction, *, name: str, subject: str | None, all_subjects: bool, now: datetime) -> None:
    """End the silence of an alarm and a subject, or all of an alarm, and delete those that ended."""
    transaction.run("alarms.end_silence", alarm=name, subject=subject, all_subjects=all_subjects, now=now)


def add_silence(transaction: Transaction, silence: Silence) -> None:
    """Add a silence."""
    transaction.run_many("alarms.add_silence", [asdict(silence)])


def newest_backup(db: Database) -> datetime | None:
    """Time of the newest backup. None before the first."""
    return db.one("alarms.newest_backup")["time"]


def backup_failure(db: Database) -> Row | None:
    """Time and reason of the newest backup that failed."""
    return db.maybe("alarms.backup_failure")


def forget_backup_failures(transaction: Transaction) -> None:
    """Delete what is known of failed backups."""
    transaction.run("alarms.forget_backup_failures")


def add_backup_failure(transaction: Transaction, *, time: datetime, reason: str) -> None:
    """Record that a backup failed, and why."""
    transaction.run("alarms.add_backup_failure", time=time, reason=reason)


def canaries(db: Database) -> list[Row]:
    """Every running canary with the state of its run and its newest interim analysis, oldest first."""
    return db.rows("alarms.canaries")


def idle_since(db: Database, *, run_id: str, started: datetime, requests: int) -> datetime | None:
    """Time since which every interim analysis of a canary has this number of requests. It reads all of them."""
    return db.one("alarms.idle_since", run_id=run_id, started=started, requests=requests)["time"]


def ended_runs(db: Database, *, limit: int) -> list[Row]:
    """The newest `limit` ended runs of each model, newest first. Cancelled runs and measurements are left out."""
    return db.rows("alarms.ended_runs", limit=limit)
