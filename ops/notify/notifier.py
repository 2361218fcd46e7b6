"""Notifications: decisions and alarms on their way to people.

It owns how far each target is in each feed. The store keeps it, so that a crash loses no message and repeats one at
most. Each target has a thread of its own, so that a dead one delays neither control nor
the others. It must not know what a target is.
"""

import logging
import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from core.acts import Act, act, only_numbers
from core.clock import Clock, new_id
from core.db import notifications as notifications_table
from core.db.store import Store
from core.records import Verdict
from core.route_list import RouteList
from ops.alarms.alarm_log import AlarmLog
from ops.notify.feeds import AlarmFeed, Entry, Feed, LedgerFeed, head_of
from ops.notify.message import Message
from ops.notify.targets import Target

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LONGEST_BACKOFF = 600.0
STOP_SECONDS = 5.0


@dataclass(slots=True)
class Delivery:
    """The state of one target: the last row of the ledger sent to it, and how often it refused the next message.

    `behind` counts rows of the ledger, `alarms_behind` messages about alarms.
    """

    target: str
    seq: int
    told: datetime | None = None
    refusals: int = 0
    behind: int = 0
    alarms_behind: int = 0


class Notifier:
    """Sends every target each alarm, and each verdict of the settings in the ledger's order, at least once."""

    def __init__(
        self,
        *,
        store: Store,
        targets: Collection[Target],
        verdicts: Collection[Verdict],
        alarms: AlarmLog,
        ops_url: str,
        clock: Clock,
        poll_s: float = POLL_SECONDS,
    ) -> None:
        self._store = store
        self._ledger = LedgerFeed(store, verdicts, ops_url)
        self._alarms = AlarmFeed(store, alarms, ops_url)
        # Alarms come first: decisions may wait, and each refusal stops what follows.
        self._feeds: tuple[Feed, ...] = (self._alarms, self._ledger)
        self._clock = clock
        self._poll_s = poll_s
        self._ending = threading.Event()
        # How far each target is in each feed.
        self._positions: dict[tuple[Target, Feed], int] = {}
        self._unwritten: set[tuple[Target, Feed]] = set()
        self._targets: dict[Target, Delivery] = {}
        self._targets |= {target: self._begin(target) for target in targets}
        self._threads: list[threading.Thread] = []

    def want(self, verdicts: Collection[Verdict]) -> None:
        """Changes which verdicts are sent from now on."""
        self._ledger.verdicts = frozenset(verdicts)

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
        newest = self._ledger.head()
        for target, delivery in self._targets.items():
            delivery.seq = self._positions[target, self._ledger]
            delivery.behind = newest - delivery.seq
            delivery.alarms_behind = len(self._alarms.after(self._positions[target, self._alarms]))
        return list(self._targets.values())

    def test(self) -> list[dict[str, Any]]:
        """Sends every target a message that says it is a test, with the head as any other."""
        head = head_of(self._store)
        message = Message(
            title="LoraLoop: test",
            body=f"This is a test; nothing happened.\nLedger: head {head.hash} at row {head.seq}.",
            kind="info",
            id=new_id("test"),
            type="test",
            time=self._clock(),
            data={"ledger": {"rows": head.seq, "head": head.hash}},
        )
        return [{"target": target.name, "taken": _sent(target, message)} for target in self._targets]

    def step(self, target: Target) -> float:
        """Tells a target all that is new, and returns after how many seconds to look again."""
        found = False
        for feed in self._feeds:
            if (target, feed) in self._unwritten:
                self._write(target, feed)
            entries = feed.after(self._positions[target, feed])
            found = found or bool(entries)
            for entry in entries:
                if entry.compose is None:
                    continue
                if not _sent(target, entry.compose()):
                    return self._refused(target, entry)
                self._take(target, feed, entry.seq)
            if entries and self._positions[target, feed] < entries[-1].seq:
                self._take(target, feed, entries[-1].seq)
        return 0.0 if found else self._poll_s

    def _follow(self, target: Target) -> None:
        wait = 0.0
        while not self._ending.wait(wait):
            try:
                wait = self.step(target)
            except Exception:  # a store on a full disk, for one: this thread must outlive it
                log.exception("notifications to %s", target.name)
                wait = LONGEST_BACKOFF if self._ending.is_set() else self._poll_s * 10

    def _begin(self, target: Target) -> Delivery:
        """Where a target was left; a new one gets only what comes from now on."""
        told = None
        for feed in self._feeds:
            known = notifications_table.position(self._store, target=feed.key(target.fingerprint))
            if known:
                self._positions[target, feed] = known.seq
                told = max(told, known.time) if told else known.time
            else:
                self._take(target, feed, feed.head())
        return Delivery(target.name, self._positions[target, self._ledger], told)

    def _take(self, target: Target, feed: Feed, seq: int) -> None:
        # Memory first: while the store cannot be written, nothing is sent twice before a restart.
        self._positions[target, feed] = seq
        if target in self._targets:
            delivery = self._targets[target]
            delivery.told, delivery.refusals = self._clock(), 0
        self._write(target, feed)

    def _write(self, target: Target, feed: Feed) -> None:
        """Write how far a target is. A failed write is repeated with the next step."""
        self._unwritten.add((target, feed))
        key, seq = feed.key(target.fingerprint), self._positions[target, feed]
        notifications_table.set_position(self._store, target=key, seq=seq, time=self._clock())
        self._unwritten.discard((target, feed))

    def _refused(self, target: Target, entry: Entry) -> float:
        delivery = self._targets[target]
        wait = min(LONGEST_BACKOFF, 2.0 ** min(delivery.refusals, 20))
        delivery.refusals += 1
        log.warning(
            "%s did not take %s, %d times by now; trying again in %.0f s",
            target.name,
            entry.what,
            delivery.refusals,
            wait,
        )
        return wait


def _sent(target: Target, message: Message) -> bool:
    try:
        return target.send(message)
    except Exception as error:  # what a library says of its failure may hold the URL, so the log has only its kind
        log.warning("%s failed: %s", target.name, type(error).__name__)
        return False


def create_reading_router(notifier: Notifier) -> RouteList:
    """The route that returns the state of each target."""
    router = RouteList(prefix="/api")

    @router.get("/notifications")
    @only_numbers
    def notifications() -> list[dict[str, Any]]:
        """List how far each target has received the ledger."""
        return [asdict(delivery) for delivery in notifier.deliveries()]

    return router


def create_acting_router(notifier: Notifier) -> RouteList:
    """The route that sends a test."""
    router = RouteList(prefix="/api")

    @router.post("/notifications/test")
    @act(Act.NOTIFICATIONS_TEST)
    def test() -> list[dict[str, Any]]:
        """Send every target a test."""
        return notifier.test()

    return router
