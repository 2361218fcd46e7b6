"""Facts about a gateway with two workers, as real processes: limits, votes, stored answers, metrics, reload, deaths.

One gateway serves all tests of this file, and the last of them ends it.
"""

import asyncio
import json
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from core.api_keys import write_key
from core.db import exports
from core.spool import SpoolWriter, segments
from ops.apps import leftover_spools
from ops.apps.gateway_worker import OnlyWorker
from ops.apps.leftover_spools import leftover_names, lock_gateway
from serve.engines.fake import echo
from serve.gateway.shipping import EndedSpool
from tests.support.gateway_workers import CHAT, LEFT, Gateway, until
from tests.support.wait import PATIENCE_SECONDS


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with ExitStack() as stack:
        yield Gateway(tmp_path_factory.mktemp("workers"), stack)


def limited(client: httpx.Client, name: str, **fields: Any) -> int:
    headers = {"Authorization": f"Bearer {write_key(name, 'secret')}"}
    return client.post("/v1/chat/completions", json=CHAT | fields, headers=headers).status_code


def test_both_workers_answer_and_control_sees_both(gateway: Gateway) -> None:
    for client in gateway.both():
        assert client.post("/v1/chat/completions", json=CHAT).json()["model"] == "reviews@7"
    assert set(gateway.clients) == set(gateway.board.gateways()) == {"g", "g_2"}
    gateway.publish(champion=9)
    switch = gateway.board.await_switch(PATIENCE_SECONDS)
    assert switch.complete and switch.gateways == 2
    answers = [client.post("/v1/chat/completions", json=CHAT).json()["model"] for client in gateway.both()]
    assert answers == ["reviews@9"] * 2


def test_limits_below_the_number_of_workers_hold_for_both_together(gateway: Gateway) -> None:
    first, second = gateway.both()
    assert [limited(client, "requests") for client in (first, second, first, second)] == [200, 429, 429, 429]
    assert [limited(client, "tokens", max_tokens=90) for client in (second, first, second)] == [200, 429, 429]


def streams(gateway: Gateway, *clients: httpx.Client, **options: Any) -> ExitStack:
    """Streams that are under way until the block ends."""
    stack, gateway.engine.gap_s = ExitStack(), 0.2
    stack.callback(setattr, gateway.engine, "gap_s", 0.0)
    for client in clients:
        asked = client.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}, **options)
        answer = stack.enter_context(asked)
        assert answer.status_code == 200
    return stack


def test_requests_at_once_are_counted_over_both(gateway: Gateway) -> None:
    first, second = gateway.both()
    headers = {"Authorization": f"Bearer {write_key('concurrent', 'secret')}"}
    gateway.engine.answer = lambda model, prompt: "so " * 400
    with gateway.client() as third, gateway.client() as fourth:
        with streams(gateway, first, headers=headers):
            assert limited(second, "concurrent") == 429
        until(lambda: limited(third, "concurrent") == 200)
        with streams(gateway, first, second, third):  # wherever the third is
            refused = fourth.post("/v1/chat/completions", json=CHAT)
            assert refused.status_code == 429 and "engines have as many" in refused.text
    gateway.engine.answer = echo
    until(lambda: first.post("/v1/chat/completions", json=CHAT).status_code == 200)


def test_a_response_of_one_worker_is_continued_and_read_at_the_other(gateway: Gateway) -> None:
    first, second = gateway.both()
    for here, there in ((first, second), (second, first)):
        made = here.post("/v1/responses", json={"model": "reviews", "input": "so good"}).json()
        follow = {"model": "reviews", "input": "and then?", "previous_response_id": made["id"]}
        assert there.post("/v1/responses", json=follow).status_code == 200
        assert there.get(f"/v1/responses/{made['id']}").json()["output"] == made["output"]
        assert there.get("/v1/responses/resp_none").status_code == 404


def test_votes_at_both_workers_are_one_history(gateway: Gateway) -> None:
    first, second = gateway.both()
    vote = {"interaction_id": "i-1", "type": "thumbs", "id": "once", "value": True}
    assert [client.post("/v1/feedback", json=vote).status_code for client in (first, second)] == [202, 202]
    assert first.post("/v1/feedback", json=vote | {"id": "gone"}).status_code == 202
    assert second.delete("/v1/feedback/gone").status_code == 202
    assert first.post("/v1/feedback", json=vote | {"id": "later"}).status_code == 202
    until(lambda: {"once", "later"} <= ids(gateway) and "gone" not in ids(gateway))


def ids(gateway: Gateway) -> set[str]:
    return {id.rpartition(":")[2] for id in gateway.votes()}


def test_what_a_worker_left_that_is_no_more_is_shipped(gateway: Gateway) -> None:
    until(lambda: "left" in gateway.votes())
    until(lambda: not segments(gateway.data / "gateways" / LEFT / "spool"))


def test_a_leftover_that_is_locked_or_refused_or_unwritable_waits_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leftover_spools, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(leftover_spools, "LOOK_SECONDS", 0.01)
    spools = {name: tmp_path / name / "spool" for name in ("g_2", "g_3", "g_4", "g_5")}
    for spool in spools.values():
        SpoolWriter(spool).close()
    lock = lock_gateway(tmp_path / "g_3")
    (tmp_path / "g_4" / "lock").mkdir()  # so that it cannot be opened

    class Ships:
        def __init__(self, name: str, spool: EndedSpool) -> None:
            self.name, self.spool = name, spool

        async def run(self) -> None:
            for segment in segments(self.spool.folder) if self.name != "g_2" else ():
                segment.path.unlink()
            await asyncio.Event().wait()

    async def run() -> None:
        made: Any = Ships
        task = asyncio.create_task(leftover_spools.ship_leftovers(tmp_path, OnlyWorker("g"), made))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while segments(spools["g_5"]):
                await asyncio.sleep(0.01)
            assert all(segments(spools[name]) for name in ("g_2", "g_3", "g_4"))
            lock.release()
            while segments(spools["g_3"]):
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(run())
    assert "the spool of g_4 waits" in caplog.text and segments(spools["g_2"])


def test_leftovers_are_of_workers_above_the_number_of_now(tmp_path: Path) -> None:
    for name in ("g", "g_2", "g_3", "g_10", "g_x", "h_3", "g-3"):
        SpoolWriter(tmp_path / name / "spool").close()
    (tmp_path / "g_4" / "spool").mkdir(parents=True)
    assert leftover_names(tmp_path, "g", 2) == ["g_10", "g_3"]
    assert leftover_names(tmp_path, "g", 1) == ["g_10", "g_2", "g_3"]
    assert leftover_names(tmp_path / "none", "g", 1) == []


def test_metrics_and_state_are_of_both(gateway: Gateway) -> None:
    clients, before = gateway.both(), gateway.metrics()
    for count, client in zip((3, 5), clients, strict=True):
        for _ in range(count):
            client.post("/v1/chat/completions", json=CHAT)
    after = gateway.metrics()
    grown = {
        worker: after["loraloop_requests_total", worker] - before["loraloop_requests_total", worker]
        for worker in gateway.clients
    }
    assert grown == {"g": 3, "g_2": 5} and after["loraloop_workers", ""] == 2
    share = gateway.clients["g_2"].get("/ready").json()
    assert share["workers"] == share["workers_answering"] == 2 and share["ready"] and share["engines_answer"]
    assert share["max_spool_bytes"] == sum(after["loraloop_spool_limit_bytes", worker] for worker in gateway.clients)


def test_a_reload_of_one_worker_or_of_the_supervisor_reaches_both(gateway: Gateway) -> None:
    def most_bytes() -> list[bool]:
        """Whether each worker takes 3,000 bytes."""
        found = [client.post("/v1/chat/completions", content=b"x" * 3000).status_code for client in gateway.both()]
        return [status != 413 for status in found]

    gateway.write(max_body_bytes=2048)
    changes = gateway.clients["g_2"].post("/api/reload").json()
    assert changes["applied"] == ["gateway.max_body_bytes"] and most_bytes() == [False, False]
    gateway.write(max_body_bytes=4096)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: most_bytes() == [True, True])
    gateway.config.write_text("[")
    assert gateway.clients["g"].post("/api/reload").status_code == 422
    gateway.write()


def test_a_worker_that_is_killed_loses_no_vote_and_the_port_keeps_answering(gateway: Gateway) -> None:
    acknowledged: list[str] = []
    ending = threading.Event()

    def vote() -> None:
        while not ending.is_set():
            identity = str(uuid.uuid4())
            body = {"interaction_id": "i-2", "type": "thumbs", "id": identity, "value": True}
            if gateway.call("POST", "/v1/feedback", json=body).status_code == 202:
                acknowledged.append(identity)

    gateway.write(max_body_bytes=3072)
    assert gateway.clients["g_2"].post("/api/reload").status_code == 200
    gateway.write(max_body_bytes=1_000_000)
    voting = [threading.Thread(target=vote) for _ in range(3)]
    for thread in voting:
        thread.start()
    for _ in range(2):
        before = gateway.pids()
        until(lambda: len(acknowledged) >= 20)
        os.kill(before[0], signal.SIGKILL)
        have = len(acknowledged)
        until(lambda have=have: len(acknowledged) > have + 5)
        until(lambda before=before: len(gateway.pids()) == 2 and before[0] not in gateway.pids())
        until(lambda: '"workers_answering":2' in gateway.call("GET", "/ready").text)
    ending.set()
    for thread in voting:
        thread.join()
    until(lambda: set(acknowledged) <= ids(gateway))
    assert max(gateway.votes().values()) == 1
    assert "was ended by signal 9; restarting in" in gateway.log.read_text()
    gateway.clients = gateway.connected()
    # The replacement has what was reloaded after its gateway began, and no later edit.
    assert all(client.post("/v1/chat/completions", content=b"x" * 3500).status_code == 413 for client in gateway.both())
    gateway.write(max_body_bytes=4096)


def test_a_worker_that_is_killed_gives_back_what_its_requests_hold(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {write_key('concurrent', 'secret')}"}
    gateway.engine.answer, gateway.engine.gap_s = (lambda model, prompt: "so " * 400), 0.2
    asked: Any = {"json": CHAT | {"stream": True}, "headers": headers}
    with gateway.client() as client, client.stream("POST", "/v1/chat/completions", **asked) as answer:
        assert answer.status_code == 200
        _, port = answer.extensions["network_stream"].get_extra_info("client_addr")
        holders = [pid for pid in gateway.pids() if port in ports_of_clients(pid)]
        assert len(holders) == 1 and post_limited(gateway) == 429
        os.kill(holders[0], signal.SIGKILL)
        gateway.engine.answer, gateway.engine.gap_s = echo, 0.0
        until(lambda: post_limited(gateway) == 200)
    until(lambda: '"workers_answering":2' in gateway.call("GET", "/ready").text)
    gateway.clients = gateway.connected()


def post_limited(gateway: Gateway) -> int:
    headers = {"Authorization": f"Bearer {write_key('concurrent', 'secret')}"}
    return gateway.call("POST", "/v1/chat/completions", json=CHAT, headers=headers).status_code


def ports_of_clients(pid: int) -> list[int]:
    return [each.raddr.port for each in psutil.Process(pid).net_connections() if each.raddr]


def test_a_gateway_whose_worker_cannot_start_ends(gateway: Gateway) -> None:
    log = gateway.config.with_name("second.log")
    second = gateway.started(log)
    assert second.wait(PATIENCE_SECONDS) == 1
    assert (
        "Another gateway with the name g" in log.read_text() and "cannot start, so the gateway ends" in log.read_text()
    )
    assert gateway.call("GET", "/health").status_code == 200


def test_a_supervisor_that_is_killed_takes_its_workers_along(gateway: Gateway, tmp_path: Path) -> None:
    gateway.write(name="h")
    log = gateway.config.with_name("third.log")
    third = gateway.started(log, TMPDIR=str(tmp_path))
    until(lambda: "with 2 workers" in log.read_text())
    workers = psutil.Process(third.pid).children()
    third.kill()
    third.wait()
    gone, left = psutil.wait_procs(workers, PATIENCE_SECONDS)
    assert len(gone) == 2 and not left
    assert not list(tmp_path.iterdir())
    gateway.write(name="g")


def test_an_end_waits_for_streams_and_ships_all_spools(gateway: Gateway) -> None:
    gateway.engine.answer, gateway.engine.gap_s = (lambda model, prompt: "so " * 10), 0.1
    first, second = gateway.both()
    asked: Any = {"json": CHAT | {"stream": True}}
    with (
        first.stream("POST", "/v1/chat/completions", **asked) as one,
        second.stream("POST", "/v1/chat/completions", **asked) as two,
    ):
        gateway.process.send_signal(signal.SIGTERM)
        events = [list(answer.iter_lines()) for answer in (one, two)]
    assert all("data: [DONE]" in lines for lines in events)
    first.close()
    second.close()
    assert gateway.process.wait(PATIENCE_SECONDS) == 0
    answered = {json.loads(lines[0].removeprefix("data: "))["id"] for lines in events}
    batches = exports.interactions(gateway.store, 1000, model=None)
    assert answered <= {row["id"] for batch in batches for row in batch}
    lock_gateway(gateway.data / "gateways" / "g").release()
    lock_gateway(gateway.data / "gateways" / "g_2").release()
