"""Feeds: what there is to send, in order. The ledger's decisions are one feed, and events of alarms another.

A feed numbers its entries. How far each target is in a feed is the notifier's.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from core.db import decisions
from core.db import notifications as notifications_table
from core.db.alarms import AlarmEvent
from core.db.decisions import LedgerHead
from core.db.store import Store
from core.hash_chain import GENESIS
from core.plain_line import one_line
from core.records import Verdict
from ops.alarms.alarm_log import AlarmLog
from ops.alarms.conditions import BY_NAME
from ops.notify.message import Message
from ops.verdict_words import VERDICT_WORDS

KINDS = {
    Verdict.PROMOTED: "success",
    Verdict.ROLLED_BACK: "warning",
    Verdict.AWAITING_APPROVAL: "warning",
    Verdict.FAILED: "failure",
}
CHANGES = {"began": "began", "repeated": "is still open", "ended": "ended"}
SEVERITIES = {"critical": "failure", "warning": "warning"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a feed: its number, and what makes its message. None: it is not sent."""

    seq: int
    what: str
    compose: Callable[[], Message] | None


class Feed(Protocol):
    """Entries in order."""

    def key(self, fingerprint: str) -> str:
        """The name under which the store keeps how far a target is."""
        ...

    def head(self) -> int:
        """The number of the newest entry, 0 if there is none."""
        ...

    def after(self, seq: int) -> list[Entry]:
        """The next entries after a number, oldest first."""
        ...


def head_of(store: Store) -> LedgerHead:
    """The head of the ledger, also of an empty one."""
    return decisions.head(store) or LedgerHead(0, GENESIS)


class LedgerFeed:
    """The decisions of the ledger. Those with one of `verdicts` are sent."""

    def __init__(self, store: Store, verdicts: Collection[Verdict], ops_url: str) -> None:
        self.verdicts = frozenset(verdicts)
        self._store = store
        self._ops_url = ops_url

    def key(self, fingerprint: str) -> str:
        """The fingerprint itself."""
        return fingerprint

    def head(self) -> int:
        """The number of the newest row."""
        return head_of(self._store).seq

    def after(self, seq: int) -> list[Entry]:
        """The next rows after a number, at most 100."""
        rows = notifications_table.pending(self._store, seq=seq)
        return [self._entry(row) for row in rows]

    def _entry(self, row: dict[str, Any]) -> Entry:
        wanted = row["verdict"] in self.verdicts
        compose = partial(self._compose, row) if wanted else None
        return Entry(row["seq"], f"row {row['seq']} of the ledger", compose)

    def _compose(self, row: dict[str, Any]) -> Message:
        return compose_decision(row, head_of(self._store), self._ops_url)


class AlarmFeed:
    """The events of alarms."""

    def __init__(self, store: Store, alarms: AlarmLog, ops_url: str) -> None:
        self._store = store
        self._alarms = alarms
        self._ops_url = ops_url

    def key(self, fingerprint: str) -> str:
        """The fingerprint with a suffix: the numbers are not those of the ledger."""
        return f"{fingerprint} alarms"

    def head(self) -> int:
        """The number of the newest event."""
        return self._alarms.head()

    def after(self, seq: int) -> list[Entry]:
        """The events after a number."""
        return [
            Entry(event.seq, f"alarm {event.name}", partial(self._compose, event)) for event in self._alarms.after(seq)
        ]

    def _compose(self, event: AlarmEvent) -> Message:
        return compose_alarm(event, head_of(self._store), self._ops_url)


def compose_decision(row: dict[str, Any], head: LedgerHead, ops_url: str) -> Message:
    """The message for a row of the ledger. It has the head, which proves later that no newer row was cut off."""
    body = json.loads(row["body"])
    word = VERDICT_WORDS.get(row["verdict"], row["verdict"])
    versions = " → ".join("–" if v is None else f"v{v}" for v in (row["from_version"], row["to_version"]))
    url = f"{ops_url}/promotions/{row['seq']}"
    lines = (
        one_line(row["reason"]),
        one_line(f"By {body['actor']}, trigger: {body['trigger']}, {row['time']:%Y-%m-%d %H:%M:%S} UTC."),
        url,
        f"Ledger: row {row['seq']}, head {head.hash} at row {head.seq}.",
    )
    names = ("seq", "id", "model", "from_version", "to_version", "verdict", "reason", "run_id")
    data = {name: row[name] for name in names} | {"actor": body["actor"], "trigger": body["trigger"], "url": url}
    return Message(
        title=f"{row['model']}: {word}, {versions}",
        body="\n".join(lines),
        kind=KINDS.get(row["verdict"], "info"),
        id=row["id"],
        type=f"decision.{row['verdict']}",
        time=row["time"],
        data=data | {"ledger": {"rows": head.seq, "head": head.hash}},
    )


def compose_alarm(event: AlarmEvent, head: LedgerHead, ops_url: str) -> Message:
    """The message for an event of an alarm, with the fix and the section of the runbook."""
    rule = BY_NAME[event.name]
    ended = event.change == "ended"
    about = f"{event.name} ({event.subject})" if event.subject else event.name
    times = f"Since {event.since:%Y-%m-%d %H:%M:%S} UTC" + (
        f", until {event.time:%Y-%m-%d %H:%M:%S} UTC" if ended else ""
    )
    lines = [
        event.sentence,
        f"{times}. Severity: {rule.severity}.",
        *([] if ended else [event.fix]),
        f"See docs/runbook.md, {rule.section}.",
        f"{ops_url}/system",
        f"Ledger: head {head.hash} at row {head.seq}.",
    ]
    return Message(
        title=f"Alarm {about} {CHANGES[event.change]}",
        body="\n".join(one_line(line) for line in lines),
        kind="success" if ended else SEVERITIES[rule.severity],
        id=event.id,
        type=f"alarm.{event.change}",
        time=event.time,
        data={
            "alarm": event.name,
            "severity": rule.severity,
            "subject": event.subject,
            "model": event.model,
            "sentence": event.sentence,
            "fix": event.fix,
            "runbook": rule.section,
            "since": event.since.isoformat(),
            "url": f"{ops_url}/system",
            "ledger": {"rows": head.seq, "head": head.hash},
        },
    )
