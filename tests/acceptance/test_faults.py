"""Facts about the gateway process under faults, with the fake engine: disks, clocks, engines, clients."""

import json
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from fastapi import FastAPI

from core.db import feedback
from core.db.store import Store
from core.record_codec import decode_all
from core.settings import build
from core.spool import read_frames, segments
from feedback import ingest
from ops.apps.gateway import create_app
from serve.engines.fake import FakeEngine, running
from serve.routing import publisher
from serve.routing.publisher import RoutePublisher
from serve.routing.table import ModelRoute, RoutingTable, Target
from tests.support.wait import PATIENCE_SECONDS, wait_until
from tools.live_stack import free_ports

CHAT = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}], "user": "ada"}
VOTE = {"interaction_id": "i", "type": "thumbs", "value": True}
MIB = 1024 * 1024


def table(engine: str) -> RoutingTable:
    champion = Target(7, "reviews-7")
    return RoutingTable({engine: ("base", "reviews-7")}, {"reviews": ModelRoute(champion, None, 0.0, "s", (champion,))})


class Gateway:
    """`loraloop gateway` as a process, with a table on its disk and no control."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder, self.own = folder, folder / "data" / "gateways" / "gateway-1"
        self.own.mkdir(parents=True)
        (self.own / "routes.json").write_text(table(engine).to_json())
        self.connections: list[socket.socket] = []
        self.process: psutil.Popen
        self.http: httpx.Client

    def start(self, **gateway: Any) -> "Gateway":
        self.port = free_ports(1)[0]
        settings = {"listen": f"127.0.0.1:{self.port}", "control_url": "http://127.0.0.1:9"} | gateway
        content = {"access": "open", "data": str(self.folder / "data"), "models": {"reviews": {"labels": ["a", "b"]}}}
        config = self.folder / "loraloop.yaml"
        config.write_text(yaml.safe_dump(content | {"gateway": settings}))
        command = [sys.executable, "-m", "ops.cli.app", "gateway", "--config", str(config)]
        with (self.folder / "log").open("wb") as log:
            self.process = psutil.Popen(command, stdout=log, stderr=log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False)
        self.until(self.healthy)
        return self

    def healthy(self) -> bool:
        try:
            return self.http.get("/health").status_code == 200
        except httpx.HTTPError:
            return False

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        alive, log = (lambda: self.process.poll() is None), (self.folder / "log").read_text
        wait_until(condition, seconds, alive=alive, log=log)

    def vote(self, *marks: str) -> httpx.Response:
        return self.http.post("/v1/feedback", json=[VOTE | {"user": mark} for mark in marks])

    def spooled(self) -> list[Any]:
        found = segments(self.own / "spool")
        return [r for s in found for f in read_frames(s.path.read_bytes()).whole for r in decode_all(f.payload)]

    def memory(self) -> int:
        return int(self.process.memory_info().rss)

    def connect(self, text: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.connections.append(made)
        made.sendall(text)
        return made

    def stop(self) -> None:
        for one in self.connections:
            one.close()
        self.http.close()
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[FakeEngine, str]]:
    made = FakeEngine(adapters={"reviews-7": "/x"})
    with running(made.app()) as url:
        yield made, url


@pytest.fixture
def gateway(tmp_path: Path, engine: tuple[FakeEngine, str]) -> Iterator[Gateway]:
    made = Gateway(tmp_path, engine[1])
    yield made
    engine[0].fault, engine[0].answer = "", FakeEngine().answer
    made.stop()


def test_a_gateway_whose_spool_cannot_be_opened_serves_and_captures_once_it_can(gateway: Gateway) -> None:
    spool = gateway.own / "spool"
    spool.write_text("in the way")
    gateway.start()
    assert gateway.http.post("/v1/chat/completions", json=CHAT).status_code == 200
    refused = gateway.vote("ada")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.json()["error"]["code"] == "spool_full"
    assert "loraloop_interactions_dropped 1.0" in gateway.http.get("/metrics").text
    spool.unlink()
    assert gateway.vote("ada").status_code == 202
    assert gateway.http.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert [type(record).__name__ for record in gateway.spooled()] == ["Feedback", "Interaction"]


def test_batches_that_meet_a_disk_which_fills_and_empties_stand_whole_and_once(gateway: Gateway) -> None:
    gateway.start()
    hard = gateway.process.rlimit(psutil.RLIMIT_FSIZE)[1]
    acknowledged: list[str] = []
    refused = 0
    for number in range(120):
        marks = [f"{number}-{part}" for part in range(1 + number % 7)]
        space = segments(gateway.own / "spool")[-1].path.stat().st_size + 97 * (number % 30)
        gateway.process.rlimit(psutil.RLIMIT_FSIZE, (space if number % 3 else hard, hard))
        answer = gateway.vote(*marks)
        assert answer.status_code in (202, 503), answer.text
        refused += answer.status_code == 503
        if answer.status_code == 503:
            gateway.process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))
            assert gateway.vote(*marks).status_code == 202
        acknowledged += marks
    assert refused > 20
    assert [record.user for record in gateway.spooled()] == acknowledged


def test_no_vote_is_lost_or_doubled_when_the_clock_jumps_between_starts(
    tmp_path: Path, engine: tuple[FakeEngine, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board, store, control = RoutePublisher(), Store(tmp_path / "store.duckdb"), FastAPI()
    control.include_router(publisher.create_router(board))
    control.include_router(ingest.create_router(store))
    board.publish(table(engine[1]))
    marks: list[str] = []
    now = datetime.now(UTC)

    with ExitStack() as stack:
        url, port = None, free_ports(1)[0]
        settings = build(
            {
                "access": "open",
                "data": str(tmp_path),
                "models": {"reviews": {"labels": ["a", "b"]}},
                "gateway": {"control_url": f"http://127.0.0.1:{port}"},
            }
        )
        for start, hours in enumerate((0, -5, 3, -9, -9, 24)):
            moment = now + timedelta(hours=hours)
            monkeypatch.setattr("core.spool.time.time_ns", lambda at=moment: int(at.timestamp() * 1e9))
            if start == 3:  # control is away for the first starts
                url = stack.enter_context(running(control, port))
            with (
                running(create_app(settings=settings, clock=lambda at=moment: at)) as gateway,
                httpx.Client(base_url=gateway, trust_env=False) as http,
            ):
                for number in range(3):
                    marks.append(f"{start}-{number}")
                    assert http.post("/v1/feedback", json=VOTE | {"id": marks[-1]}).status_code == 202
                if url:
                    wait_until(lambda http=http: http.get("/ready").json()["unshipped_bytes"] == 0)
        found = feedback.counts(store, model=None, key=None)
        assert [(row["type"], row["n"]) for row in found] == [("thumbs", len(marks))]
    store.close()


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_accepts_and_never_answers_is_given_up_in_time(
    gateway: Gateway, engine: tuple[FakeEngine, str], stream: bool
) -> None:
    gateway.start(request_timeout_s=1, first_event_timeout_s=1)
    engine[0].fault = "hang"
    with ThreadPoolExecutor(20) as pool:
        asked = [
            pool.submit(gateway.http.post, "/v1/chat/completions", json=CHAT | {"stream": stream}) for _ in range(20)
        ]
        answers = [one.result() for one in asked]
    assert {answer.status_code for answer in answers} <= {503, 504}
    assert all("engine" in answer.json()["error"]["message"].lower() for answer in answers)
    engine[0].fault = ""
    # After several failures the engine gets no requests for a moment.
    gateway.until(lambda: gateway.http.post("/v1/chat/completions", json=CHAT).status_code == 200, 10)


def test_clients_that_dribble_hold_nobody_else_up(gateway: Gateway) -> None:
    gateway.start()
    before = gateway.memory()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    slow = [gateway.connect(head) for _ in range(300)]
    slow += [gateway.connect(head + b"Content-Length: 100000\r\n\r\n{") for _ in range(300)]
    for _ in range(5):
        for number, one in enumerate(slow):
            one.sendall(b"X-A: b\r\n" if number < 300 else b" " * 100)
        assert gateway.http.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert gateway.memory() - before < 30 * MIB
    for one in slow:
        one.close()
    assert gateway.vote("ada").status_code == 202


def test_readers_that_do_not_read_a_long_stream_cost_little_memory(
    gateway: Gateway, engine: tuple[FakeEngine, str]
) -> None:
    gateway.start()
    gateway.http.post("/v1/chat/completions", json=CHAT | {"stream": True})
    engine[0].answer = lambda model, prompt: " ".join(["word" * 2500] * 4000)  # 40 MB of text for each reader
    body = json.dumps(CHAT | {"stream": True}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    before = gateway.memory()
    readers = [gateway.connect(request) for _ in range(4)]
    for reader in readers:
        assert reader.recv(12) == b"HTTP/1.1 200"
    time.sleep(5)
    assert gateway.memory() - before < 40 * MIB
    engine[0].answer = FakeEngine().answer
    assert gateway.http.post("/v1/chat/completions", json=CHAT).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback"])
def test_a_body_of_50_mb_is_refused_before_it_is_read_whole(gateway: Gateway, path: str) -> None:
    gateway.start()
    gateway.http.post("/v1/chat/completions", json=CHAT)
    before = gateway.memory()
    made = gateway.connect(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {50 * MIB}\r\n\r\n".encode())
    made.settimeout(0.5)
    sent = 0
    try:
        while sent < 50 * MIB:
            sent += made.send(b" " * (256 * 1024))
    except OSError:  # refused already: nobody reads on
        pass
    made.settimeout(20)
    assert made.recv(12) in (b"HTTP/1.1 413", b"HTTP/1.1 422")
    assert gateway.memory() - before < 10 * MIB
    assert gateway.http.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_10_000_idle_connections_cost_little_and_others_are_served(gateway: Gateway) -> None:
    count, (soft, hard) = 10_000, resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 500:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        gateway.start()
        gateway.http.post("/v1/chat/completions", json=CHAT)
        before = gateway.memory()
        for _ in range(count):
            gateway.connect()
        gateway.until(lambda: gateway.process.num_fds() > count)
        assert gateway.http.post("/v1/chat/completions", json=CHAT).status_code == 200
        assert gateway.vote("ada").status_code == 202
        assert (gateway.memory() - before) / count < 20 * 1024
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
