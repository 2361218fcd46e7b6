"""The gateway's benchmark: its arithmetic, its refusals, and the processes that it starts."""

import asyncio
import cProfile
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench import gateway_cpu, stub_upstream, systems
from bench.load import PATHS, Client, LoadFailed, Turn, parse_wrk
from bench.processes import free_port
from bench.rounds import BARE, CHAT, DIRECT, OURS, in_turns, measure_apis, measure_whole, summarize
from core.errors import LoraLoopError
from serve.engines.fake import running
from serve.gateway.capture import StreamRecorder
from serve.gateway.events import data_of
from serve.routing.table import RoutingTable

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Press(Client):
    """A client whose load is a list of names: it fails at one of them."""

    fails_at: str = ""
    asked: list[str] = field(default_factory=list)

    def press(self, url: str, connections: int, seconds: int, api: str = "chat") -> Turn:
        self.asked.append(url)
        if url == self.fails_at:
            raise LoadFailed("1 requests failed.")
        return Turn(1.0, 100.0)


def press(fails_at: str = "") -> Press:
    return Press(key="k", model="m", fails_at=fails_at)


def names(*more: str) -> dict[str, str]:
    return {name: name for name in (DIRECT, OURS, BARE, *more)}


def test_what_is_added_is_taken_within_the_round():
    def turns(*p50s: float) -> dict[int, list[Turn]]:
        return {1: [Turn(p50, 0) for p50 in p50s], 32: [Turn(0, rps) for rps in (10.0, 30.0, 20.0)]}

    # Every round is slower than the one before; medians taken apart would say 2.0.
    figures = summarize({DIRECT: turns(1, 2, 9), OURS: turns(1.5, 4, 9.25)})
    assert figures == {OURS: {"c1_p50_added_ms": 0.5, "c32_rps": 20}}


def test_an_api_is_compared_with_chat_of_the_same_round():
    rounds, asked = iter(range(100)), []

    def measure(api: str) -> float:
        asked.append(api)
        slower = 1 + next(rounds) // 4  # each round is slower than the one before
        return slower * {DIRECT: 10.0, CHAT: 12.0, "messages": 12.5, "responses": 13.0}[api]

    assert measure_apis(measure, 3) == {"messages": 1.25, "responses": 1.5}
    assert [asked[4 * number] for number in range(4)] == ["responses", DIRECT, CHAT, "messages"]


def test_each_round_begins_with_another():
    assert [in_turns(["a", "b", "c"], number)[0] for number in range(4)] == ["a", "b", "c", "a"]


def test_a_peer_that_fails_is_left_out():
    turns = measure_whole(press("litellm"), names("litellm", "vllm_router"), rounds=2, seconds=1)
    assert set(turns) == {DIRECT, OURS, BARE, "vllm_router"}
    assert all(len(turn) == 2 for own in turns.values() for turn in own.values())


def test_ours_is_never_left_out():
    with pytest.raises(LoadFailed):
        measure_whole(press(OURS), names("litellm"), rounds=1, seconds=1)


def test_wrks_last_line_gives_latency_and_rate():
    assert parse_wrk("Running 2s test\n250 6000 2000000 0\n") == Turn(0.25, 3000.0)


@pytest.mark.parametrize("line", ["250 6000 2000000 1", "0 0 2000000 0"])
def test_one_request_that_failed_spoils_the_figures(line: str):
    with pytest.raises(LoadFailed):
        parse_wrk(line)


def test_the_canned_stream_reads_as_an_engines():
    tee = StreamRecorder()
    for event in stub_upstream.events({"stream_options": {"include_usage": True}}):
        tee.take(data_of(event or stub_upstream.stamped()))
    assert len(tee.text.split()) == stub_upstream.CHUNKS
    assert (tee.answer().finish_reason, tee.usage) == ("stop", stub_upstream.USAGE)


def test_usage_is_streamed_only_on_request():
    assert (
        len(stub_upstream.events({"stream_options": None}))
        == len(stub_upstream.events({"stream_options": {"include_usage": True}})) - 1
    )


def test_the_benchmarks_users_fall_on_both_sides():
    table = RoutingTable.from_json(systems.routing_table("http://e", ("one", "two")).to_json())
    arms = [table.choose(systems.CLIENT.model, f"user-{number}").arm for number in range(1, 257)]
    assert 96 < arms.count("canary") < 160


def test_the_peers_server_is_at_our_locks_versions():
    pins = [line for line in (ROOT / "bench/peers/requirements.txt").read_text().splitlines() if "==" in line]
    lock = (ROOT / "requirements.lock").read_text()
    shared = [pin for pin in pins if not pin.startswith(("litellm", "vllm-router"))]
    assert len(shared) == 5
    assert [pin for pin in shared if f"\n{pin} \\" not in lock] == []


@pytest.mark.parametrize("kind", gateway_cpu.ASKED)
def test_every_api_answers_whole_and_streamed(kind: str, tmp_path: Path):
    async def ask() -> tuple[bytes, bytes]:
        app = gateway_cpu.build(tmp_path)
        return await gateway_cpu.ask(app, kind, stream=False), await gateway_cpu.ask(app, kind, stream=True)

    whole, streamed = asyncio.run(ask())
    assert stub_upstream.ANSWER.encode() in whole
    assert streamed.count(b"data: {") > stub_upstream.CHUNKS


@pytest.mark.parametrize("kind", gateway_cpu.ASKED)
def test_a_request_and_its_answer_are_parsed_once_in_every_api(kind: str, tmp_path: Path):
    async def profile() -> cProfile.Profile:
        app = gateway_cpu.build(tmp_path)
        return (await gateway_cpu.calls(app, kind, stream=False, requests=1))[1]

    found = asyncio.run(profile()).getstats()
    assert [entry.callcount for entry in found if "orjson.loads" in str(entry.code)] == [2]


def test_chunks_are_timed_and_the_upstream_ends_with_its_block(tmp_path: Path):
    before = set(psutil.Process().children(recursive=True))
    with systems.streams(tmp_path) as url:
        delay = systems.CLIENT.chunk_delay_us(url, streams=1)
        assert set(psutil.Process().children(recursive=True)) > before
    assert 0 < delay < 1e6
    assert set(psutil.Process().children(recursive=True)) == before


@pytest.mark.parametrize("api", PATHS)
def test_chunks_of_every_api_are_timed_through_the_gateway(api: str, gateway: Any):
    with running(stub_upstream.app, lifespan="off") as upstream:
        url = str(gateway.open(upstream).http.base_url).rstrip("/")
        assert 0 < systems.CLIENT.chunk_delay_us(url, streams=1, api=api) < 1e6


def test_what_does_not_come_up_is_named_with_its_last_error(tmp_path: Path):
    command = [sys.executable, "-c", "raise OSError('no such luck')"]
    peer = systems.started(command, free_port(), tmp_path / "peer.log")
    with pytest.raises(LoraLoopError, match=r"peer did not come up .*OSError: no such luck"), peer:
        pass


def test_a_peer_that_is_not_installed_is_named(tmp_path: Path):
    with pytest.raises(LoraLoopError, match=r"There is no .*litellm"):
        systems.litellm("http://e", tmp_path, tmp_path)
