"""A gateway with two workers as real processes, its engine, control's side with a store, and connections to both."""

import os
import re
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from core.api_keys import Grant, Limits, Scope, digest_of
from core.clock import utc_now
from core.db import exports
from core.db.store import Store
from core.http import install_errors
from core.record_codec import encode
from core.records import Feedback
from core.settings import KEY_VARIABLES, SECRET_VARIABLES
from core.spool import SpoolWriter
from feedback import ingest
from serve.engines.fake import FakeEngine, running
from serve.responses import store as response_store
from serve.responses.store import ResponseStore
from serve.routing import publisher
from serve.routing.publisher import RoutePublisher
from serve.routing.table import ModelRoute, RoutingTable, Target
from tests.support.wait import PATIENCE_SECONDS

OPS = "ops-key"
CHAT = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}]}
LEFT = "g_3"
LIMITED = {
    "requests": Limits(requests_per_minute=1),
    "tokens": Limits(tokens_per_minute=100),
    "concurrent": Limits(concurrent=1),
}
MOST_IN_FLIGHT = 3


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


class Gateway:
    """The gateway's process, its engine, control's side with a store, and connections to both workers."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.data, self.stack = folder / "data", stack
        self.engine, self.store, self.board = (
            FakeEngine(adapters={"reviews-7": "/a"}),
            Store(":memory:"),
            RoutePublisher(),
        )
        stack.callback(self.store.close)
        self.engine_url = stack.enter_context(running(self.engine.app()))
        control = FastAPI()
        install_errors(control)
        for router in (
            publisher.create_router(self.board),
            ingest.create_router(self.store),
            response_store.create_router(ResponseStore(self.store)),
        ):
            control.include_router(router)
        self.board.publish_keys(tuple(grant(name, limits) for name, limits in LIMITED.items()))
        self.publish()
        self.config = folder / "loraloop.yaml"
        self.content: dict[str, Any] = {
            "data": str(self.data),
            "models": {"reviews": {"labels": ["a", "b"]}},
            "logs": {"access": True},
            "gateway": {
                "name": "g",
                "listen": "127.0.0.1:0",
                "workers": 2,
                "max_in_flight": MOST_IN_FLIGHT,
                "control_url": stack.enter_context(running(control)),
            },
        }
        self.write()
        self.leave_a_spool()
        self.log = folder / "gateway.log"
        self.process = self.started(self.log)
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        found = until(lambda: re.search(r"g listens on (http://\S+) with 2 workers", self.log.read_text()))
        self.url = found[1]
        until(lambda: self.call("GET", "/ready").status_code == 200)
        self.clients = self.connected()

    def write(self, **gateway: Any) -> None:
        self.content["gateway"] |= gateway
        self.config.write_text(yaml.safe_dump(self.content))

    def publish(self, champion: int = 7) -> None:
        target = Target(champion, "reviews-7")
        route = ModelRoute(target, None, 0.0, "s", (target,))
        self.board.publish(RoutingTable({self.engine_url: ("base", "reviews-7")}, {"reviews": route}))

    def leave_a_spool(self) -> None:
        """What a third worker of an earlier start had not shipped."""
        writer = SpoolWriter(self.data / "gateways" / LEFT / "spool")
        writer.append(encode(Feedback("left", utc_now(), "i", None, "thumbs", True, key_id="environment-ops")))
        writer.close()

    def started(self, log: Path, **environment: str) -> "subprocess.Popen[bytes]":
        others = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
        keys = {KEY_VARIABLES["ops"]: OPS, KEY_VARIABLES["internal"]: "internal"}
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "ops.cli.app", "gateway", "--config", str(self.config)],
                env=others | keys | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def pids(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request on a connection of its own."""
        with self.client() as client:
            try:
                return client.request(method, path, **options)
            except httpx.TransportError:
                return httpx.Response(599)

    def client(self, key: str = OPS) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        kept = httpx.Limits(keepalive_expiry=None)
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False, verify=False, limits=kept
        )

    def worker_of(self, client: httpx.Client) -> str:
        """The worker that has the client's connection, which the access log says."""
        path = f"/{uuid.uuid4()}"
        client.get(path)
        return until(lambda: re.search(rf"worker=(\S+) .*path={path}", self.log.read_text()))[1]

    def connected(self) -> dict[str, httpx.Client]:
        """A kept connection to each worker."""
        found: dict[str, httpx.Client] = {}

        def enough() -> bool:
            clients = [self.client() for _ in range(8)]
            with ThreadPoolExecutor(len(clients)) as threads:
                workers = list(threads.map(self.worker_of, clients))
            for client, worker in zip(clients, workers, strict=True):
                if found.setdefault(worker, client) is not client:
                    client.close()
            return len(found) == 2

        until(enough)
        for client in found.values():
            self.stack.callback(client.close)
        return dict(sorted(found.items()))

    def both(self) -> list[httpx.Client]:
        """A client of each worker. A stream that was left early has closed its connection, so they are checked."""
        if any(self.worker_of(client) != worker for worker, client in self.clients.items()):
            self.clients = self.connected()
        return list(self.clients.values())

    def metrics(self) -> dict[tuple[str, str], int]:
        """(name, worker): the sum of a metric's samples."""
        text = self.clients["g"].get("/metrics").text
        sums: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name, sample.labels.get("worker", "")] += int(sample.value)
        return sums

    def votes(self) -> Counter[str]:
        batches = exports.feedback(self.store, 1000, model=None, key=None)
        return Counter(row["id"] for batch in batches for row in batch if row["revoked_at"] is None)


def grant(name: str, limits: Limits) -> Grant:
    return Grant(name, digest_of("secret"), (Scope.INFER,), limits=limits)
