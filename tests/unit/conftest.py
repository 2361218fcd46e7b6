"""A running gateway for tests: the real app on a loopback port, in front of the fake engine."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from core.api_keys import Grant
from core.record_codec import Record, decode_all
from core.records import Interaction
from core.settings import build
from core.spool import read_frames, segments
from ops.apps.gateway import create_app
from serve.engines.fake import FakeEngine, running
from serve.routing.table import ModelRoute, RoutingTable, Target
from tests.support.environment import clear_settings

CLOSED = "http://127.0.0.1:9"
# Files that take longest. They come first, or one process would still be at one of them when all others have ended.
LONGEST = ("retrain/trainer/", "retrain/search/", "tools/test_bench_gates.py", "feedback/test_prepared_prompts.py")
REQUEST = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}], "user": "ada"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""
    items.sort(key=lambda item: not any(part in item.path.as_posix() for part in LONGEST))


def table(*engines: str) -> RoutingTable:
    champion = Target(7, "reviews-7")
    held = dict.fromkeys(engines, ("base", "reviews-7"))
    return RoutingTable(held, {"reviews": ModelRoute(champion, None, 0.0, "s", (champion,))})


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeEngine, str]]:
    engine = FakeEngine()
    with running(engine.app()) as url:
        yield engine, url


class RunningGateway:
    """A gateway on a port, its client, and the records in its spool."""

    table = staticmethod(table)

    def __init__(self, data: Path, engine: FakeEngine, url: str) -> None:
        self.data, self.engine, self.engine_url, self.stack = data, engine, url, ExitStack()
        self.http: httpx.Client
        self.app: FastAPI

    def open(
        self,
        *engines: str,
        control: str = CLOSED,
        cached: bool = True,
        access: str = "open",
        keys: tuple[Grant, ...] = (),
        tracing: Any = None,
        logs: Any = None,
        **gateway: Any,
    ) -> "RunningGateway":
        folder = self.data / "gateways" / "gateway-1"
        folder.mkdir(parents=True, exist_ok=True)
        if cached:
            known = replace(table(*(engines or (self.engine_url,))), keys=keys)
            (folder / "routes.json").write_text(known.to_json())
        settings = build(
            {
                "data": str(self.data),
                "models": {"reviews": {"labels": ["a", "b"]}},
                "gateway": {"control_url": control} | gateway,
                "access": access,
                "logs": logs or {},
            }
        )
        self.app = create_app(settings=settings, tracing=tracing)
        url = self.stack.enter_context(running(self.app))
        self.http = self.stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))
        return self

    def post(self, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
        return self.http.post(path, json=REQUEST | body)

    def events(self, **body: Any) -> list[str]:
        text = self.post(stream=True, **body).text
        assert text.endswith("\n\n")
        return [event.removeprefix("data: ") for event in text.removesuffix("\n\n").split("\n\n")]

    def spooled(self) -> list[Record]:
        found = segments(self.data / "gateways" / "gateway-1" / "spool")
        frames = (frame.payload for s in found for frame in read_frames(s.path.read_bytes()).whole)
        return [record for payload in frames for record in decode_all(payload)]

    @staticmethod
    def until(fact: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.01)

    def only(self) -> Interaction:
        self.until(lambda: len(self.spooled()) == 1)
        (record,) = self.spooled()
        assert isinstance(record, Interaction)
        return record


@pytest.fixture
def gateway(
    tmp_path: Path, served: tuple[FakeEngine, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    clear_settings(monkeypatch)
    engine, url = served
    engine.fault, engine.gap_s, engine.adapters = "", 0.0, {"reviews-7": "/x"}
    engine.requests.clear()
    engine.traces.clear()
    made = RunningGateway(tmp_path, engine, url)
    with made.stack:
        yield made
        engine.fault = ""


# IMPORT
