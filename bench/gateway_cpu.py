"""Count what one request costs inside the gateway: function calls, and CPU time of each API compared with chat.

    python -m bench.gateway_cpu

Everything runs in one process without sockets: requests come in as ASGI messages, and engines are canned bytes. So a
busy machine changes the counts not at all and the ratios little. The last line is one JSON object; progress goes to
stderr. It measures neither uvicorn nor the kernel: see bench.gateway for latency and rate.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import random
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import orjson
import uvloop

from bench.progress import say
from bench.stub_upstream import COMPLETION, events, stamped
from core.api_keys import Grant, Limits, Scope, digest_of
from core.clock import utc_now
from core.spool import SpoolWriter
from ops.apps.gateway_app import GatewayApp
from ops.apps.gateway_worker import OnlyWorker, SharingWorker
from serve.engines.forwarding_client import Connection, ConnectionPool, HttpClient
from serve.engines.http_response import TimeLimits
from serve.engines.pool import EnginePool
from serve.gateway.authentication import KeyChecker
from serve.gateway.capture import Recorder
from serve.gateway.completions import Completions, RequestLimits
from serve.gateway.metrics import Metrics
from serve.responses.routes import StoredResponses
from serve.routing.subscriber import RouteSubscriber
from serve.routing.table import ModelRoute, RoutingTable, Target
from serve.workers.memory import SharedMemory

SYSTEM = "Say whether the review is positive, neutral or negative."
REVIEW = "The battery lasts two days and the screen is bright, but the speaker is poor."
QUESTION = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": REVIEW}]
CHAT, LIMITED = "chat", "chat_limited"
# What each API receives, by the name of its figures: the path, and the fields besides model, user and stream.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    CHAT: ("/v1/chat/completions", {"max_tokens": 64, "messages": QUESTION}),
    "messages": ("/v1/messages", {"max_tokens": 64, "system": SYSTEM, "messages": QUESTION[1:]}),
    "responses": (
        "/v1/responses",
        {"max_output_tokens": 64, "instructions": SYSTEM, "input": QUESTION[1:], "store": False},
    ),
    "responses_stored": (
        "/v1/responses",
        {"max_output_tokens": 64, "instructions": SYSTEM, "input": QUESTION[1:]},
    ),
    "chat_stored": ("/v1/chat/completions", {"max_tokens": 64, "messages": QUESTION, "store": True}),
    LIMITED: ("/v1/chat/completions", {"max_tokens": 64, "messages": QUESTION}),
}
KEY, LIMITED_KEY = "sk-bench", "sk-bench-limited"
# The second has limits that are never reached.
GRANTS = (
    Grant("bench", digest_of(KEY), (Scope.INFER,)),
    Grant("limited", digest_of(LIMITED_KEY), (Scope.INFER,), limits=Limits(10**9, 10**12, 10**6)),
)
ENGINE = "http://engine"
LIMITS = TimeLimits(5, 60, 60, 60)
USERS = 256


class CannedTransport:
    """The socket of a connection to an engine that answers at once, a stream with one read per event."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        body = orjson.dumps(COMPLETION)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"
        self._whole = (head % b"application/json") + b"Content-Length: %d\r\n\r\n" % len(body) + body
        self._head = (head % b"text/event-stream") + b"Transfer-Encoding: chunked\r\n\r\n"
        found = [event or stamped() for event in events({"stream_options": {"include_usage": True}})]
        self._events = [b"%x\r\n%b\r\n" % (len(event), event) for event in found]

    def writelines(self, parts: list[bytes]) -> None:
        """Takes a request."""
        if b'"stream":true' not in parts[1]:
            self._loop.call_soon(self._connection.data_received, self._whole)
            return
        self._connection.data_received(self._head)
        self._loop.call_soon(self._next, 0)

    def _next(self, place: int) -> None:
        if place < len(self._events):
            self._connection.data_received(self._events[place])
            self._loop.call_soon(self._next, place + 1)
        else:
            self._connection.data_received(b"0\r\n\r\n")

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """All is sent."""
        return 0

    def abort(self) -> None:
        """Nothing is open."""


class CannedClient(HttpClient):
    """The gateway's own client of engines without a network."""

    async def _connect(self, origin: ConnectionPool, seconds: float) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(origin, loop, self._clock)
        connection.connection_made(cast(asyncio.BaseTransport, CannedTransport(connection, loop)))
        return connection


class FixedTable:
    """What completions need of the subscriber of routes: one model, half of its users on a canary."""

    def __init__(self) -> None:
        route = ModelRoute(Target(7, "reviews-7"), Target(8, "reviews-8"), 0.5, "bench")
        self.table = RoutingTable({ENGINE: ("reviews-7", "reviews-8")}, {"reviews": route})
        self.in_flight: Counter[tuple[str, int]] = Counter()


def build(folder: Path, workers: int = 1) -> GatewayApp:
    """The gateway's app with everything on the path of a completion, and no framework route.

    With several workers it counts limits and requests at engines as one of them does.
    """
    worker = OnlyWorker("bench")
    if workers > 1:
        worker = SharingWorker(
            "bench", 0, memory=SharedMemory(workers), sockets=folder, parent=-1, supervisor=-1, reloads=0
        )
    completions = Completions(
        tables=cast(RouteSubscriber, FixedTable()),
        upstream=EnginePool(
            CannedClient(keep_s=60), max_in_flight=256, whole=LIMITS, stream=LIMITS, **worker.pool_options()
        ),
        recorder=Recorder(SpoolWriter(folder)),
        metrics=Metrics(),
        access=KeyChecker(keys=tuple, static=GRANTS, meter=worker.meter()),
        clock=utc_now,
        limits=RequestLimits(max_body_bytes=1 << 20),
    )
    app = GatewayApp(openapi_url=None)
    app.put_together(completions, cast(StoredResponses, StoredResponses.__new__(StoredResponses)))
    return app


async def ask(app: GatewayApp, kind: str, *, stream: bool) -> bytes:
    """One request, as uvicorn would bring it; returns the body of the answer."""
    path, fields = ASKED[kind]
    user = f"user-{random.randrange(USERS)}"
    named = {"metadata": {"user_id": user}} if kind == "messages" else {"user": user}
    content = orjson.dumps({"model": "reviews", "stream": stream, **named, **fields})
    headers = [
        (b"host", b"gateway"),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {LIMITED_KEY if kind == LIMITED else KEY}".encode()),
        (b"content-length", b"%d" % len(content)),
    ]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    parts: list[bytes] = []

    bodies = [content]

    async def receive() -> dict[str, Any]:
        if not bodies:  # the client stays
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message
        else:
            parts.append(message["body"])

    await app(scope, receive, send)
    return b"".join(parts)


async def calls(app: GatewayApp, kind: str, *, stream: bool, requests: int) -> tuple[float, cProfile.Profile]:
    """(function calls of one request, the profile)."""
    await ask(app, kind, stream=stream)
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(requests):
        await ask(app, kind, stream=stream)
    profile.disable()
    return pstats.Stats(profile).total_calls / requests, profile  # pyright: ignore


async def cpu_us(app: GatewayApp, kind: str, *, stream: bool, requests: int) -> float:
    """CPU time of one request in µs, that of making the request and its canned answer included."""
    began = time.process_time()
    for _ in range(requests):
        await ask(app, kind, stream=stream)
    return (time.process_time() - began) / requests * 1e6


async def compare(app: GatewayApp, *, stream: bool, rounds: int, requests: int) -> dict[str, dict[str, float]]:
    """Calls, µs, and the ratio of µs to chat's in the same round, by API."""
    times: dict[str, list[float]] = {kind: [] for kind in ASKED}
    for number in range(-1, rounds):  # the first is unmeasured
        for kind in sorted(ASKED, key=lambda _: random.random()):
            found = await cpu_us(app, kind, stream=stream, requests=requests)
            if number >= 0:
                times[kind].append(found)
    figures: dict[str, dict[str, float]] = {}
    for kind, own in times.items():
        counted, _ = await calls(app, kind, stream=stream, requests=20)
        ratios = [a / b for a, b in zip(own, times[CHAT], strict=True)]
        figures[kind] = {
            "calls": round(counted),
            "cpu_us": round(statistics.median(own), 1),
            "to_chat": round(statistics.median(ratios), 2),
        }
        say(f"{kind}{', streamed' if stream else ''}: {figures[kind]}")
    return figures


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole result."""
    with tempfile.TemporaryDirectory() as name:
        app = build(Path(name), options.workers)
        if options.profile:
            _, profile = await calls(app, options.profile, stream=options.stream, requests=300)
            pstats.Stats(profile).sort_stats(options.sort).print_stats(70)
            return {}
        rounds, requests = options.rounds, options.requests
        whole = await compare(app, stream=False, rounds=rounds, requests=requests)
        streamed = await compare(app, stream=True, rounds=rounds, requests=max(1, requests // 20))
    return {"whole": whole, "streamed": streamed}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=40, help="number of rounds; a result is their median; default 40")
    parser.add_argument("--requests", type=int, default=80, help="requests of each API in a round; default 80")
    parser.add_argument("--workers", type=int, default=1, help="workers that share the limits; default 1")
    parser.add_argument("--profile", choices=tuple(ASKED), help="print the functions of this API by time, and end")
    parser.add_argument("--stream", action="store_true", help="with --profile: of streams")
    parser.add_argument("--sort", default="tottime", help="with --profile: the order; default tottime")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
