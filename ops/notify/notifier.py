"""Notifications: the ledger's news on their way to people.

It owns the last row that each target received. The store keeps it, so that a crash loses no message and repeats one at
most. Each target has a thread of its own, so that a dead one delays neither control nor
the others. It must not know what a target is.
"""

import json
import logging
import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter

from core.acts import Act, act, no_act
from core.clock import Clock
from core.db import decisions
from core.db import notifications as notifications_table
from core.db.decisions import LedgerHead
from core.db.store import Store
from core.hash_chain import GENESIS
from core.records import Verdict
from ops.notify.targets import Message, Target
from ops.views import WORDS

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LONGEST_BACKOFF = 600.0
STOP_SECONDS = 5.0
KINDS = {
    Verdict.PROMOTED: "success",
    Verdict.ROLLED_BACK: "warning",
    Verdict.AWAITING_APPROVAL: "warning",
    Verdict.FAILED: "failure",
}


@dataclass(slots=True)
class Delivery:
    """The state of one target: the last row of the ledger sent to it, and how often it refused the next one."""

    target: str
    seq: int
    told: datetime | None = None
    refusals: int = 0
    behind: int = 0


def compose(row: dict[str, Any], head: LedgerHead, ops_url: str) -> Message:
    """The message for a row of the ledger. It has the head, which proves later that no newer row was cut off."""
    body = json.loads(row["body"])
    word = WORDS.get(row["verdict"], row["verdict"])
    versions = " → ".join("–" if v is None else f"v{v}" for v in (row["from_version"], row["to_version"]))
    lines = (
        _line(row["reason"]),
        _line(f"By {body['actor']}, trigger: {body['trigger']}, {row['time']:%Y-%m-%d %H:%M:%S} UTC."),
        f"{ops_url}/promotions/{row['seq']}",
        f"Ledger: row {row['seq']}, head {head.hash} at row {head.seq}.",
    )
    return Message(f"{row['model']}: {word}, {versions}", "\n".join(lines), KINDS.get(row["verdict"], "info"))


def _line(text: str) -> str:
    """Text of users and errors as one line, so that it cannot pass for a line of ours."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class Notifier:
    """Sends every target each verdict of the settings, in the ledger's order, at least once."""

    def __init__(
        self,
        *,
        store: Store,
        targets: Collection[Target],
        verdicts: Collection[Verdict],
        ops_url: str,
        clock: Clock,
        poll_s: float = POLL_SECONDS,
    ) -> None:
        self._store = store
        self._verdicts = frozenset(verdicts)
        self._ops_url = ops_url
        self._clock = clock
        self._poll_s = poll_s
        self._ending = threading.Event()
        self._targets = {target: self._begin(target) for target in targets}
        self._threads: list[threading.Thread] = []

    def want(self, verdicts: Collection[Verdict]) -> None:
        """Changes which verdicts are sent from now on."""
        self._verdicts = frozenset(verdicts)

    def start(self) -> None:
        """Begins to send."""
        for target in self._targets:
            thread = threading.Thread(target=self._follow, args=(target,), name=f"notify {target.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ends it; a message without an answer by then is sent again after the next start."""
        self._ending.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def deliveries(self) -> list[Delivery]:
        """The state of each target."""
        newest = self._head().seq
        for delivery in self._targets.values():
            delivery.behind = newest - delivery.seq
        return list(self._targets.values())

    def test(self) -> list[dict[str, Any]]:
        """Sends every target a message that says it is a test, with the head as any other."""
        head = self._head()
        text = f"This is a test; nothing happened.\nLedger: head {head.hash} at row {head.seq}."
        message = Message("LoraLoop: test", text, "info")
        return [{"target": target.name, "taken": _sent(target, message)} for target in self._targets]

    def step(self, target: Target) -> float:
        """Tells a target all that is new, and returns after how many seconds to look again."""
        delivery = self._targets[target]
        rows = notifications_table.pending(self._store, seq=delivery.seq)
        for row in rows:
            if row["verdict"] not in self._verdicts:
                continue
            if not _sent(target, compose(row, self._head(), self._ops_url)):
                return self._refused(target, delivery, row["seq"])
            self._sent(target, delivery, row["seq"])
        if rows and delivery.seq < rows[-1]["seq"]:
            self._sent(target, delivery, rows[-1]["seq"])
        return 0.0 if rows else self._poll_s

    def _follow(self, target: Target) -> None:
        wait = 0.0
        while not self._ending.wait(wait):
            try:
                wait = self.step(target)
            except Exception:  # a store on a full disk, for one: this thread must outlive it
                log.exception("notifications to %s", target.name)
                wait = LONGEST_BACKOFF if self._ending.is_set() else self._poll_s * 10

    def _begin(self, target: Target) -> Delivery:
        """Where a target was left; a new one gets only rows from now on."""
        known = notifications_table.position(self._store, target=target.fingerprint)
        if known:
            return Delivery(target.name, known.seq, known.time)
        begun = Delivery(target.name, self._head().seq)
        notifications_table.set_position(self._store, target=target.fingerprint, seq=begun.seq, time=self._clock())
        return begun

    def _sent(self, target: Target, delivery: Delivery, seq: int) -> None:
        now = self._clock()
        notifications_table.set_position(self._store, target=target.fingerprint, seq=seq, time=now)
        delivery.seq, delivery.told, delivery.refusals = seq, now, 0

    def _refused(self, target: Target, delivery: Delivery, seq: int) -> float:
        wait = min(LONGEST_BACKOFF, 2.0 ** min(delivery.refusals, 20))
        delivery.refusals += 1
        log.warning(
            "%s did not take row %d of the ledger, %d times by now; trying again in %.0f s",
            target.name,
            seq,
            delivery.refusals,
            wait,
        )
        return wait

    def _head(self) -> LedgerHead:
        return decisions.head(self._store) or LedgerHead(0, GENESIS)


def _sent(target: Target, message: Message) -> bool:
    try:
        return target.send(message)
    except Exception as error:  # what a library says of its failure may hold the URL, so the log has only its kind
        log.warning("%s failed: %s", target.name, type(error).__name__)
        return False


def create_reading_router(notifier: Notifier) -> APIRouter:
    """The route that returns the state of each target."""
    router = APIRouter(prefix="/api")

    @router.get("/notifications")
    @no_act("It shows names and numbers, no texts.")
    def notifications() -> list[dict[str, Any]]:
        """List how far each target has received the ledger."""
        return [asdict(delivery) for delivery in notifier.deliveries()]

    return router


def create_acting_router(notifier: Notifier) -> APIRouter:
    """The route that sends a test."""
    router = APIRouter(prefix="/api")

    @router.post("/notifications/test")
    @act(Act.NOTIFICATIONS_TEST)
    def test() -> list[dict[str, Any]]:
        """Send every target a test."""
        return notifier.test()

    return router
