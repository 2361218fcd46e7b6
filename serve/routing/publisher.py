"""Publish the routing table to gateways, and record which gateway has which table."""

import asyncio
import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Response
from pydantic import BaseModel

from core.api_keys import Grant
from core.http import JsonBody
from core.route_list import RouteList
from serve.routing.table import RoutingTable, etag_of

log = logging.getLogger(__name__)

TICK_SECONDS = 0.02
# A gateway polls every 20 s; one not heard of for three times as long no longer counts.
FORGOTTEN_SECONDS = 60.0
# A gateway that has a table from before these counts as one that has none.
REMEMBERED_TABLES = 256
REMEMBERED_BOOTS = 8
# A gateway reports what is in flight: at most one entry of some hundred bytes per request.
MAX_POLL_BYTES = 4 * 1024 * 1024


class GatewayPoll(BaseModel):
    """What a gateway says when it asks for a table."""

    gateway: str
    have: str
    boot: str = ""
    in_flight: list[tuple[str, int, int]] = []
    wait_s: float = 0
    unshipped: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """What a gateway last said: its table, and requests in flight by (model, version).

    `unshipped` are bytes of its spool that control has not ingested, `dropped` interactions that it could not keep.
    """

    etag: str
    in_flight: dict[tuple[str, int], int]
    at: float
    unshipped: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class SwitchResult:
    """How a new table arrived: milliseconds until the last gateway had it, and what was in flight then.

    `decision_id` is the decision that it follows from.
    """

    ms: float
    in_flight: int
    gateways: int
    complete: bool
    decision_id: str = ""


class RoutePublisher:
    """Holds the published table; safe to publish from any thread."""

    def __init__(self) -> None:
        self._table: RoutingTable | None = None
        self.etag = ""
        # The published table as JSON: with many keys, writing it takes long.
        self.text = ""
        # By tag, the newest last: the how-manieth table it was.
        self._numbers: dict[str, int] = {}
        self._number = 0
        self._published = 0.0
        self._keys: tuple[Grant, ...] = ()
        self._lock = threading.Lock()
        self._reports: dict[str, GatewayStatus] = {}
        # The boot ids of each gateway, the newest last, and the reports of a second process with the same name.
        self._boots: dict[str, list[str]] = {}
        self._twins: dict[str, GatewayStatus] = {}

    @property
    def table(self) -> RoutingTable | None:
        """What is published."""
        return self._table

    def publish(self, table: RoutingTable) -> None:
        """Makes a table the one that gateways are given, with the keys as they stand."""
        with self._lock:
            self._offer(replace(table, keys=self._keys))

    def publish_keys(self, keys: tuple[Grant, ...]) -> None:
        """Gives gateways other keys, with the routes as they stand."""
        with self._lock:
            self._keys = keys
            if self._table is not None:
                self._offer(replace(self._table, keys=keys))

    def report(self, poll: GatewayPoll) -> None:
        """Takes down what a gateway said.

        A restarted gateway has a new boot id, and its old one is never heard again. Two gateways with one name are both
        heard: both count from then on, and the log names them.
        """
        in_flight = {(model, version): n for model, version, n in poll.in_flight}
        status = GatewayStatus(poll.have, in_flight, time.monotonic(), poll.unshipped, poll.dropped)
        with self._lock:
            boots = self._boots.setdefault(poll.gateway, [])
            if poll.boot not in boots:
                boots.append(poll.boot)
                del boots[:-REMEMBERED_BOOTS]
                self._twins.pop(poll.gateway, None)
            elif poll.boot != boots[-1]:
                if poll.gateway not in self._twins:
                    log.error("two gateways have the name %s: set gateway.name to another name", poll.gateway)
                self._twins[poll.gateway] = status
                return
            self._reports[poll.gateway] = status

    def gateways(self) -> dict[str, GatewayStatus]:
        """The gateways heard of lately."""
        oldest = time.monotonic() - FORGOTTEN_SECONDS
        with self._lock:
            twins = {f"{name} (second)": report for name, report in self._twins.items()}
            return {name: report for name, report in (self._reports | twins).items() if report.at >= oldest}

    def drained(self, model: str, version: int) -> bool:
        """Whether no gateway can still be waiting for an answer of this version."""
        return all(
            report.etag == self.etag and not report.in_flight.get((model, version))
            for report in self.gateways().values()
        )

    def await_switch(self, timeout_s: float = 5.0) -> SwitchResult:
        """Waits until every gateway has the published table, or a later one. Blocks; not for the event loop."""
        with self._lock:
            wanted, published = self._number, self._published
        deadline = time.monotonic() + timeout_s
        while True:
            reports = self.gateways().values()
            arrived = [report for report in reports if self._numbers.get(report.etag, 0) >= wanted]
            complete = len(arrived) == len(reports)
            if complete or time.monotonic() > deadline:
                last = max((report.at for report in arrived), default=published)
                in_flight = sum(sum(report.in_flight.values()) for report in reports)
                return SwitchResult(max(0.0, last - published) * 1000, in_flight, len(reports), complete)
            time.sleep(TICK_SECONDS)

    def _offer(self, table: RoutingTable) -> None:
        text = table.to_json()
        etag = etag_of(text)
        if etag == self.etag:
            return
        self._published = time.monotonic()
        self._number += 1
        self._numbers.pop(etag, None)
        self._numbers[etag] = self._number
        if len(self._numbers) > REMEMBERED_TABLES:
            del self._numbers[next(iter(self._numbers))]
        self._table, self.etag, self.text = table, etag, text


def create_router(board: RoutePublisher) -> RouteList:
    """The long poll that gateways use."""
    router = RouteList()

    @router.post("/internal/routes")
    async def routes(poll: Annotated[GatewayPoll, Depends(JsonBody(GatewayPoll, MAX_POLL_BYTES))]) -> Response:
        board.report(poll)
        deadline = time.monotonic() + min(poll.wait_s, 30)
        while True:
            if board.text and board.etag != poll.have:
                return Response(board.text, media_type="application/json")
            if time.monotonic() >= deadline:
                return Response(status_code=204)
            await asyncio.sleep(TICK_SECONDS)

    return router
