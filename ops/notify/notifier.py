"""Notifications: the ledger's news on their way to people.

It owns how far each target has been told, kept in the store beside the ledger: a crash loses no news, and doubles at
most the one under way. Each target has a thread of its own, so that a dead one holds up neither control nor
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

from core.clock import Clock
from core.db import decisions
from core.db import notifications as notifications_table
from core.db.decisions import LedgerHead
from core.db.store import Store
from core.ledger import GENESIS
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
    """How one target stands: told up to which row of the ledger, and how often it refused the next one."""

    target: str
    seq: int
    told: datetime | None = None
    refusals: int = 0
    behind: int = 0


def compose(row: dict[str, Any], head: LedgerHead, ops_url: str) -> Message:
    """What is told of a row of the ledger. The head goes with it: whoever keeps it can prove the tail was not cut."""
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
    """Tells every target of each verdict that is wanted, in the ledger's order, at least once."""

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
        """Changes which verdicts are told from now on."""
        self._verdicts = frozenset(verdicts)

    def start(self) -> None:
        """Begins to tell."""
        for target in self._targets:
            thread = threading.Thread(target=self._follow, args=(target,), name=f"notify {target.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Ends it; what a target has not answered by then is told again after the next start."""
        self._ending.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def deliveries(self) -> list[Delivery]:
        """How each target stands."""
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
            self._told(target, delivery, row["seq"])
        if rows and delivery.seq < rows[-1]["seq"]:
            self._told(target, delivery, rows[-1]["seq"])
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
        """Where a target was left; a new one is told from now on and not of the past."""
        known = notifications_table.position(self._store, target=target.fingerprint)
        if known:
            return Delivery(target.name, known.seq, known.time)
        begun = Delivery(target.name, self._head().seq)
        notifications_table.set_position(self._store, target=target.fingerprint, seq=begun.seq, time=self._clock())
        return begun

    def _told(self, target: Target, delivery: Delivery, seq: int) -> None:
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
    except Exception as error:  # what a library says of its failure may hold the URL, so only its kind is told
        log.warning("%s failed: %s", target.name, type(error).__name__)
        return False


def create_reading_router(notifier: Notifier) -> APIRouter:
    """The route that says how each target stands."""
    router = APIRouter(prefix="/api")

    @router.get("/notifications")
    def notifications() -> list[dict[str, Any]]:
        """How far each target has been told of the ledger."""
        return [asdict(delivery) for delivery in notifier.deliveries()]

    return router


def create_acting_router(notifier: Notifier) -> APIRouter:
    """The route that sends a test."""
    router = APIRouter(prefix="/api")

    @router.post("/notifications/test")
    def test() -> list[dict[str, Any]]:
        """Send every target a test."""
        return notifier.test()

    return router
