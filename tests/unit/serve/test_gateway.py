"""Facts about the gateway, end to end on loopback ports: the real app, the fake engine, control dead or alive."""

import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from core.api_key_store import ApiKeyStore, NewKey
from core.api_keys import Limits, Scope
from core.clock import utc_now
from core.db import feedback
from core.db.store import Store
from core.records import Feedback, Interaction
from core.spool import SpoolWriter
from feedback import ingest
from serve.engines.fake import running
from serve.routing import publisher
from serve.routing.publisher import RoutePublisher
from tests.support.gateway import CLOSED

CHAT = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}], "user": "ada"}
ANSWER = "reviews-7 heard so good"


def test_a_chat_is_answered_and_captured_under_the_completions_id(gateway: Any) -> None:
    answer = gateway.open().post()
    body, record = answer.json(), gateway.only()
    assert answer.status_code == 200 and body["choices"][0]["message"]["content"] == ANSWER
    assert answer.headers["x-loraloop-version"] == "reviews@7"
    assert answer.headers["x-request-id"] == body["id"] == record.id and body["id"].startswith("chatcmpl-")
    assert (record.model, record.version, record.arm, record.user, record.status) == (
        "reviews",
        7,
        "champion",
        "ada",
        200,
    )
    assert (record.answer, record.request, record.finish_reason) == (ANSWER, CHAT, "stop")
    assert (record.prompt_tokens, record.completion_tokens, record.streamed) == (2, 4, False)
    assert record.bucket is not None and 0 < record.latency_ms < 10_000
    assert gateway.engine.requests[-1][1]["model"] == "reviews-7"


def test_a_completion_is_answered_and_captured(gateway: Any) -> None:
    body = gateway.open().post("/v1/completions", prompt="so good").json()
    record = gateway.only()
    assert body["id"] == record.id and body["id"].startswith("cmpl-")
    assert (record.endpoint, record.answer, body["choices"][0]["text"]) == ("completion", ANSWER, ANSWER)


def test_the_public_models_are_listed_with_their_version(gateway: Any) -> None:
    (entry,) = gateway.open().http.get("/v1/models").json()["data"]
    assert (entry["id"], entry["version"]) == ("reviews", 7)


@pytest.mark.parametrize("asked", [False, True])
def test_usage_reaches_a_streams_client_only_when_it_asked_and_the_spool_always(gateway: Any, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    *events, done = gateway.open().events(**options)
    chunks, record = [json.loads(event) for event in events], gateway.only()
    assert done == "[DONE]" and any("usage" in chunk for chunk in chunks) is asked
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == record.answer == ANSWER
    assert {chunk["id"] for chunk in chunks} == {record.id}
    assert (record.streamed, record.prompt_tokens, record.completion_tokens, record.status) == (True, 2, 4, 200)
    assert record.ttft_ms is not None and record.ttft_ms <= record.latency_ms


def test_an_interaction_is_in_the_spool_before_its_last_byte_leaves(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SpoolWriter.append

    def slow(self: SpoolWriter, payload: bytes) -> int:
        time.sleep(0.2)  # were the last byte on its way already, the client would find nothing
        return real(self, payload)

    monkeypatch.setattr(SpoolWriter, "append", slow)
    gateway.open().engine.gap_s = 0.02
    with gateway.http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        lines = answer.iter_lines()
        assert "assistant" in next(lines) and gateway.spooled() == []
        for line in lines:
            if line == "data: [DONE]":
                assert len(gateway.spooled()) == 1
                return
    pytest.fail("no [DONE] came")


WRONG = [
    (b"{", 422, "not JSON"),
    (b"[]", 422, "not a JSON object"),
    (b"{}", 422, "model: name the model"),
    (json.dumps(CHAT | {"model": "other"}).encode(), 404, "See GET /v1/models"),
    (json.dumps(CHAT | {"model": ["reviews"]}).encode(), 422, "model: name the model"),
    (json.dumps(CHAT | {"stream": "false"}).encode(), 422, "stream: takes true or false"),
    (json.dumps(CHAT | {"stream": True, "stream_options": "all"}).encode(), 422, "stream_options: takes an object"),
    (json.dumps(CHAT | {"x": "y" * 3000}).encode(), 413, "larger than 2048 bytes"),
    (json.dumps(CHAT)[:-1].encode() + b',"x":' + b"[" * 254 + b"]" * 254 + b"}", 422, "nested too deeply"),
    (json.dumps(CHAT)[:-1].encode() + b',"x":' + b"[" * 253 + b"]" * 253 + b"}", 422, "nested too deeply"),
    (b'{"model": "\\ud800"}', 422, "not JSON"),
]


def test_a_wrong_request_gets_a_reason_and_reaches_no_engine(gateway: Any) -> None:
    gateway.open(max_body_bytes=2048)
    for content, status, words in WRONG:
        answer = gateway.http.post("/v1/chat/completions", content=content)
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text
    assert gateway.engine.requests == [] and gateway.spooled() == []


def test_the_deepest_body_that_is_accepted_is_also_captured(gateway: Any) -> None:
    gateway.open().post(x=json.loads("[" * 252 + "]" * 252))
    assert gateway.only().status == 200


def test_what_could_reach_past_the_request_is_stripped(gateway: Any) -> None:
    evil = {
        "priority": -9,
        "cache_salt": "x",
        "request_id": "mine",
        "kv_transfer_params": {},
        "vllm_xargs": {},
        "chat_template": "{{ 1 }}",
        "chat_template_kwargs": {"chat_template": "x", "enable_thinking": False},
    }
    gateway.open().post(temperature=0.5, **evil)
    sent = gateway.engine.requests[-1][1]
    assert sent == CHAT | {"model": "reviews-7", "temperature": 0.5, "chat_template_kwargs": {"enable_thinking": False}}


def test_store_false_keeps_the_counts_and_drops_the_text(gateway: Any) -> None:
    gateway.open().post(store=False)
    gateway.events(store=False)
    for record in gateway.spooled():
        assert isinstance(record, Interaction)
        assert (record.request, record.answer, record.completion_tokens, record.status) == (None, None, 4, 200)


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_is_down_is_503_with_retry_after(gateway: Any, stream: bool) -> None:
    answer = gateway.open(CLOSED).post(stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_down")
    assert answer.headers["retry-after"] == "2" and gateway.only().status == 503


def test_the_next_engine_answers_when_one_takes_no_connection(gateway: Any) -> None:
    gateway.open(CLOSED, gateway.engine_url)
    assert [gateway.post().status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_an_engines_error_is_passed_on_and_captured(gateway: Any, stream: bool) -> None:
    gateway.open().engine.fault = "error"
    answer = gateway.post(stream=stream)
    assert (answer.status_code, answer.json()["error"]["type"], gateway.only().status) == (500, "fake", 500)


def test_an_engine_that_lost_its_adapters_is_503_until_it_has_them_again(gateway: Any) -> None:
    gateway.open().engine.adapters = {}
    assert [gateway.post().status_code for _ in range(5)] == [503] * 5
    gateway.engine.adapters = {"reviews-7": "/x"}
    assert gateway.post().status_code == 200


def test_a_break_in_the_middle_of_a_stream_is_reported_and_captured(gateway: Any) -> None:
    gateway.open().engine.fault = "break"
    *chunks, last = gateway.events()
    assert json.loads(last)["error"]["code"] == "engine_down"
    record = gateway.only()
    seen = "".join(json.loads(c)["choices"][0]["delta"].get("content", "") for c in chunks)
    assert (record.status, record.answer, ANSWER.startswith(seen)) == (503, seen, True) and seen


def test_a_break_in_the_middle_of_a_whole_answer_is_503(gateway: Any) -> None:
    gateway.open().engine.fault = "break"
    assert gateway.post().status_code == 503 and gateway.only().status == 503


def test_a_version_is_chosen_by_those_who_may_look_into_operations(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "app")
    monkeypatch.setenv("LORALOOP_OPS_KEY", "ops")
    gateway.open(access="keys")
    gateway.http.headers["Authorization"] = "Bearer app"
    assert gateway.post(model="reviews@7").json()["error"]["code"] == "forbidden"
    gateway.http.headers["Authorization"] = "Bearer ops"
    assert gateway.post(model="reviews@7").status_code == 200
    assert (gateway.only().arm, gateway.only().bucket) == ("pinned", None)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"3", b'{"choices": 3}', b'{"choices": [3]}', b"\xff"])
def test_an_engines_answer_that_is_no_json_is_502_and_on_record(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(gateway.engine, "reply", lambda *_: (200, content))
    answer = gateway.open().post()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")
    assert gateway.only().status == 502


def test_an_error_repeats_little_of_the_request(gateway: Any) -> None:
    gateway.open()
    long = "x" * 100_000
    for answer in (
        gateway.post(model=long),
        gateway.post(model=f"{long}@1"),
        gateway.post(model=f"reviews@{long}"),
        gateway.http.get(f"/v1/models/{long[:5000]}"),
    ):
        assert answer.status_code == 404 and len(answer.text) < 400


def test_an_engine_that_hangs_is_given_up(gateway: Any) -> None:
    gateway.open(request_timeout_s=0.2, first_event_timeout_s=0.2).engine.fault = "hang"
    assert gateway.post().status_code == gateway.post(stream=True).status_code == 504


def test_an_engines_error_inside_a_stream_is_no_success(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [b'data: {"choices": []}\n\n', b'data: {"error": {"message": "x"}}\n\n', b"data: [DONE]\n\n"]
    monkeypatch.setattr(gateway.engine, "reply", lambda *_: (200, events))
    assert len(gateway.open().events()) == 3 and gateway.only().status == 500


def test_a_client_that_goes_away_is_captured_as_499_and_no_longer_in_flight(gateway: Any) -> None:
    gateway.open().engine.gap_s = 0.05
    with gateway.http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        next(answer.iter_lines())
    record = gateway.only()
    assert record.status == 499 and record.answer is not None and ANSWER.startswith(record.answer)
    gateway.until(lambda: 'loraloop_in_flight{model="reviews",version="7"} 0.0' in gateway.http.get("/metrics").text)
    assert gateway.app.state.tables.in_flight == {}  # or it would grow with every version, and what it polls with


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_disconnects_early_pays_for_the_prompt_and_what_it_saw(gateway: Any, stream: bool) -> None:
    ring = ApiKeyStore(store=Store(":memory:"), clock=utc_now)
    made = ring.make(NewKey("app", (Scope.INFER,), limits=Limits(tokens_per_minute=100)), "test")
    gateway.open(access="keys", keys=ring.grants).engine.gap_s = 0.2
    gateway.engine.fault = "" if stream else "hang"
    body = CHAT | {"stream": stream, "messages": [{"role": "user", "content": "word " * 200}]}
    headers = {"Authorization": f"Bearer {made.key}"}
    asked = gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=headers, timeout=0.5)
    with suppress(httpx.ReadTimeout), asked as answer:
        next(answer.iter_lines())
    assert gateway.only().status == 499
    gateway.engine.fault = ""
    again = gateway.http.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert again.status_code == 429 and again.headers["x-ratelimit-remaining-tokens"] == "0"


def test_a_client_that_does_not_wait_for_a_whole_answer_costs_no_engine_any_longer(gateway: Any) -> None:
    gateway.open().engine.fault = "hang"
    with pytest.raises(httpx.ReadTimeout):
        gateway.http.post("/v1/chat/completions", json=CHAT, timeout=0.3)
    assert gateway.only().status == 499
    gateway.until(lambda: 'loraloop_in_flight{model="reviews",version="7"} 0.0' in gateway.http.get("/metrics").text)


def test_above_the_bound_in_flight_it_is_429_with_retry_after(gateway: Any) -> None:
    gateway.open(max_in_flight=1).engine.fault = "hang"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.post)
        gateway.until(lambda: len(gateway.http.get("/metrics").text.split('version="7"} 1.0')) == 2)
        second = gateway.post()
        gateway.engine.fault = ""
        assert (second.status_code, second.headers["retry-after"]) == (429, "2")
        assert second.json()["error"]["type"] == "rate_limit_error" and first.result().status_code == 200


def test_keys_are_required_when_one_is_set(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "s3cret")
    gateway.open(access="keys")
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    calls = [
        ("POST", "/v1/chat/completions", CHAT),
        ("POST", "/v1/feedback", vote),
        ("GET", "/v1/models", None),
        ("DELETE", "/v1/feedback/f", None),
    ]
    for method, path, body in calls:
        assert gateway.http.request(method, path, json=body).status_code == 401
        right = {"Authorization": "Bearer s3cret"}
        assert gateway.http.request(method, path, json=body, headers=right).status_code in (200, 202)
    assert gateway.http.get("/health").status_code == 200


def test_without_a_table_it_is_not_ready_but_takes_feedback(gateway: Any) -> None:
    gateway.open(cached=False)
    assert gateway.http.get("/ready").status_code == 503 and gateway.post().status_code == 503
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    assert gateway.http.post("/v1/feedback", json=vote).status_code == 202
    assert isinstance(gateway.spooled()[0], Feedback)


def test_a_full_disk_refuses_feedback_while_chat_still_answers(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    gateway.open()
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        refused = gateway.http.post("/v1/feedback", json=vote)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert gateway.post().status_code == 200 and gateway.events()[-1] == "[DONE]"
        assert gateway.http.get("/ready").json()["interactions_dropped"] == 2
        assert "loraloop_interactions_dropped 2.0" in gateway.http.get("/metrics").text
    assert gateway.http.post("/v1/feedback", json=vote).status_code == 202 and gateway.post().status_code == 200
    assert len(gateway.spooled()) == 2


def test_with_control_alive_the_table_comes_and_the_spool_goes(gateway: Any) -> None:
    board, store, control = RoutePublisher(), Store(":memory:"), FastAPI()
    control.include_router(publisher.create_router(board))
    control.include_router(ingest.create_router(store))
    board.publish(gateway.table(gateway.engine_url))
    with running(control) as url:
        gateway.open(control=url, cached=False)
        gateway.until(lambda: gateway.http.get("/ready").status_code == 200)
        gateway.post()
        identity = gateway.post().json()["id"]
        gateway.http.post("/v1/feedback", json={"interaction_id": identity, "type": "label", "value": "a"})
        gateway.until(lambda: [row["type"] for row in feedback.counts(store, model="reviews", key=None)] == ["label"])
        gateway.until(lambda: gateway.http.get("/ready").json()["unshipped_bytes"] == 0)
        assert board.await_switch().gateways == 1
        gateway.stack.close()
    store.close()
