"""Facts about how an exchange ends: its status and cause in the record, and what its client gets."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from core.errors import EngineDown, EngineError, EngineSlow, LimitReached, NotLoaded, PromptRefused, ShuttingDown
from core.records import Interaction
from serve.engines.http_response import ConnectionBroken
from serve.gateway.outcome import Outcome, of_error, of_status
from serve.routing.table import Target, sticky_bucket

CHAT = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}], "user": "ada"}


@pytest.mark.parametrize(
    ("error", "status", "cause", "retryable"),
    [
        (NotLoaded(""), 503, "not_loaded", True),
        (EngineDown(""), 503, "unreachable", True),
        (ConnectionBroken(), 503, "unreachable", True),
        (EngineSlow(""), 504, "timeout", True),
        (TimeoutError(), 504, "timeout", True),
        (EngineError(""), 502, "engine_error", False),
        (PromptRefused(""), 502, "refused", False),
        (LimitReached(""), 429, "refused", True),
        (ShuttingDown(""), 503, "shutdown", True),
        (asyncio.CancelledError(), 503, "shutdown", True),
        (KeyError(), 500, "gateway_error", False),
    ],
)
def test_an_error_has_one_outcome(error: BaseException, status: int, cause: Any, retryable: bool) -> None:
    assert of_error(error) == Outcome(status, cause, "", retryable)


def test_only_answers_and_errors_of_the_engine_are_about_the_version() -> None:
    found = {status: of_status(status, "http://e") for status in (200, 400, 429, 500, 504)}
    assert [outcome.cause for outcome in found.values()] == [
        "answered",
        "refused",
        "refused",
        "engine_error",
        "timeout",
    ]
    assert [status for status, outcome in found.items() if outcome.is_about_version] == [200, 500]
    assert of_error(NotLoaded("")).is_about_version is False


def test_work_that_the_engine_did_not_count_is_charged_as_a_guess() -> None:
    assert of_status(200, "").tokens(7, 3) == 7
    assert of_error(ConnectionBroken()).tokens(None, 3) == 3
    assert of_error(NotLoaded("")).tokens(None, 3) == of_status(400, "").tokens(None, 3) == 0


def cause(gateway: Any) -> tuple[int, str | None]:
    record = gateway.only()
    return record.status, record.cause


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("", (200, "answered")),
        ("error", (500, "engine_error")),
        ("down", (503, "unreachable")),
        ("break", (503, "unreachable")),
    ],
)
def test_the_record_says_what_ended_the_exchange(gateway: Any, fault: Any, found: Any, stream: bool) -> None:
    gateway.open().engine.fault = fault
    gateway.post(stream=stream)
    assert cause(gateway) == found


def test_a_client_that_leaves_is_no_fault_of_the_version(gateway: Any) -> None:
    gateway.open().engine.gap_s = 0.1
    with gateway.http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        next(answer.iter_lines())
    assert cause(gateway) == (499, "client_gone")


def test_an_engine_that_restarted_lacks_the_canary_and_the_champion_answers(gateway: Any) -> None:
    known = gateway.table(gateway.engine_url)
    route = known.models["reviews"]
    canary = replace(route, champion=Target(0, "base"), canary=Target(7, "reviews-7"), share=1.0)
    gateway.table = lambda *_: replace(known, models={"reviews": canary})
    folder = gateway.data / "gateways" / "gateway-1"
    folder.mkdir(parents=True)
    (folder / "routes.json").write_text(gateway.table().to_json())
    gateway.open(cached=False).engine.adapters = {}  # as after a restart: it answers for the base model only
    assert sticky_bucket(route.salt, "ada") < 1
    for stream in (False, True):
        answer = gateway.post(stream=stream)
        assert answer.status_code == 200 and answer.headers["x-loraloop-version"] == "reviews@0"
        assert answer.headers.get_list("x-loraloop-version") == ["reviews@0"]
    gateway.until(lambda: len(gateway.spooled()) == 2)
    for record in gateway.spooled():
        assert isinstance(record, Interaction)
        assert (record.version, record.arm, record.bucket) == (0, "champion", None)
        assert (record.status, record.cause) == (200, "not_loaded")
    pinned = gateway.post(model="reviews@7")
    assert pinned.status_code == 503 and pinned.json()["error"]["code"] == "not_loaded"


def test_a_client_that_reads_nothing_is_dropped_and_harms_nobody(gateway: Any) -> None:
    gateway.engine.answer, before = (lambda *_: " ".join(["x" * 60_000] * 400)), gateway.engine.answer
    try:
        gateway.open(client_timeout_s=0.3)
        url = httpx.URL(str(gateway.http.base_url))
        with socket.create_connection((url.host, url.port)) as client:
            body = json.dumps(CHAT | {"stream": True}).encode()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            assert cause(gateway) == (499, "client_slow")
    finally:
        gateway.engine.answer = before


def raw_engine(answer: Callable[[], list[bytes]], requests: list[bytes]) -> str:
    """An engine on a socket that sends fixed bytes and ends; gives its URL."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                request = connection.recv(1 << 20)
                if request.startswith(b"GET /health"):
                    connection.sendall(HEAD % b"200 OK" + b"Content-Length: 0\r\n\r\n")
                    continue
                requests.append(request)
                for piece in answer():
                    connection.sendall(piece)
                    time.sleep(0.01)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{server.getsockname()[1]}"


HEAD = b"HTTP/1.1 %b\r\nConnection: close\r\n"
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-of-a-proxy",
        "model": "reviews-7",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": 'say "model":"x"'}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


def test_the_bytes_of_a_request_have_each_header_once_and_ask_for_no_compression(gateway: Any) -> None:
    requests: list[bytes] = []
    url = raw_engine(lambda: [HEAD % b"200 OK" + b"Content-Type: application/json\r\n\r\n" + COMPLETION], requests)
    gateway.open(url).post()
    head = requests[0].partition(b"\r\n\r\n")[0].lower().split(b"\r\n")[1:]
    names = [line.partition(b":")[0] for line in head]
    assert sorted(names) == sorted(set(names))
    assert b"content-type: application/json" in head and b"accept-encoding: identity" in head


def test_the_answer_has_the_records_id_and_the_public_name_of_its_version(gateway: Any) -> None:
    url = raw_engine(lambda: [HEAD % b"200 OK" + b"\r\n" + COMPLETION], [])
    body = gateway.open(url).post().json()
    assert (body["id"], body["model"]) == (gateway.only().id, "reviews@7")
    assert body["choices"][0]["message"]["content"] == 'say "model":"x"'


def streamed(*events: bytes) -> list[bytes]:
    return [HEAD % b"200 OK" + b"Content-Type: text/event-stream\r\n\r\n", *events]


CHUNK = (
    '{"id": "of-a-proxy", "model":"reviews-7", "choices": '
    '[{"index": 0, "delta": {"content": "%s"}, "finish_reason": null}]}'
)


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
@pytest.mark.parametrize("start", ["data: ", "data:"])
def test_events_are_read_however_their_lines_end(gateway: Any, start: str, end: str) -> None:
    usage = '{"id": "of-a-proxy", "model":"reviews-7", "choices": [], "usage": {"prompt_tokens": 1, "total_tokens": 3}}'
    parts = [f": ping{end}", *(f"{start}{CHUNK % word}{end}" for word in ("so", " it"))]
    events = "".join([*parts, f"{start}{usage}{end}", f"{start}[DONE]{end}"]).encode()
    url = raw_engine(lambda: streamed(events[:50], events[50:333], events[333:]), [])
    text = gateway.open(url).post(stream=True).text
    record = gateway.only()
    assert (record.answer, record.status, record.cause, record.prompt_tokens) == ("so it", 200, "answered", 1)
    assert ": ping" in text and "[DONE]" in text and "usage" not in text
    assert text.count(record.id) == text.count('"reviews@7"') == 2 and "of-a-proxy" not in text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HEAD % b"200 OK" + b"Content-Encoding: gzip\r\n\r\n" + b"\x1f\x8b\x08\0\0", "compressed with gzip"),
        (HEAD % b"307 Temporary Redirect" + b"Location: /x\r\n\r\n", "redirection"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_proxy_made_of_an_answer_is_named(gateway: Any, answer: bytes, words: str, stream: bool) -> None:
    found = gateway.open(raw_engine(lambda: [answer], [])).post(stream=stream)
    assert found.status_code == 503 and words in found.json()["error"]["message"]
    assert cause(gateway) == (503, "unreachable")


def test_when_to_try_again_is_passed_on(gateway: Any) -> None:
    busy = HEAD % b"429 Too Many" + b'Retry-After: 30\r\nx-should-retry: true\r\n\r\n{"error":{}}'
    answer = gateway.open(raw_engine(lambda: [busy], [])).post(stream=True)
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["x-should-retry"]) == (429, "30", "true")
    assert cause(gateway) == (429, "refused")


def test_an_engine_that_refuses_a_stream_and_breaks_off_is_503(gateway: Any) -> None:
    torn = HEAD % b"429 Too Many" + b"Content-Length: 99\r\n\r\n{"
    assert gateway.open(raw_engine(lambda: [torn], [])).post(stream=True).status_code == 503
    assert cause(gateway) == (503, "unreachable")


def test_an_answer_that_is_no_stream_keeps_its_type(gateway: Any) -> None:
    plain = HEAD % b"200 OK" + b"Content-Type: application/json\r\n\r\n" + COMPLETION
    answer = gateway.open(raw_engine(lambda: [plain], [])).post(stream=True)
    assert answer.headers["content-type"] == "application/json" and answer.json()["model"] == "reviews@7"
    assert gateway.only().answer == 'say "model":"x"'


def test_the_headers_of_a_stream_keep_proxies_from_holding_it_back(gateway: Any) -> None:
    headers = gateway.open().post(stream=True).headers
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")


def test_a_bug_in_a_stream_is_no_client_that_left(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> bool:
        raise KeyError("a bug")

    monkeypatch.setattr("serve.gateway.capture.StreamRecorder.take", fails)
    text = gateway.open().post(stream=True).text
    assert json.loads(text.removeprefix("data: "))["error"]["code"] == "internal_error"
    assert cause(gateway) == (500, "gateway_error")
