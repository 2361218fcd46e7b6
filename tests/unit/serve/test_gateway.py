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


def test_a_chat_is_answered_and_captured_under_the_completions_id(house: Any) -> None:
    answer = house.open().post()
    body, record = answer.json(), house.only()
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
    assert house.engine.requests[-1][1]["model"] == "reviews-7"


def test_a_completion_is_answered_and_captured(house: Any) -> None:
    body = house.open().post("/v1/completions", prompt="so good").json()
    record = house.only()
    assert body["id"] == record.id and body["id"].startswith("cmpl-")
    assert (record.endpoint, record.answer, body["choices"][0]["text"]) == ("completion", ANSWER, ANSWER)


def test_the_public_models_are_listed_with_their_version(house: Any) -> None:
    (entry,) = house.open().http.get("/v1/models").json()["data"]
    assert (entry["id"], entry["version"]) == ("reviews", 7)


@pytest.mark.parametrize("asked", [False, True])
def test_usage_reaches_a_streams_client_only_when_it_asked_and_the_spool_always(house: Any, asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    *events, done = house.open().events(**options)
    chunks, record = [json.loads(event) for event in events], house.only()
    assert done == "[DONE]" and any("usage" in chunk for chunk in chunks) is asked
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == record.answer == ANSWER
    assert {chunk["id"] for chunk in chunks} == {record.id}
    assert (record.streamed, record.prompt_tokens, record.completion_tokens, record.status) == (True, 2, 4, 200)
    assert record.ttft_ms is not None and record.ttft_ms <= record.latency_ms


def test_an_interaction_is_in_the_spool_before_its_last_byte_leaves(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SpoolWriter.append

    def slow(self: SpoolWriter, payload: bytes) -> int:
        time.sleep(0.2)  # were the last byte on its way already, the client would find nothing
        return real(self, payload)

    monkeypatch.setattr(SpoolWriter, "append", slow)
    house.open().engine.gap_s = 0.02
    with house.http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        lines = answer.iter_lines()
        assert "assistant" in next(lines) and house.spooled() == []
        for line in lines:
            if line == "data: [DONE]":
                assert len(house.spooled()) == 1
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


def test_a_wrong_request_is_told_so_and_reaches_no_engine(house: Any) -> None:
    house.open(max_body_bytes=2048)
    for content, status, words in WRONG:
        answer = house.http.post("/v1/chat/completions", content=content)
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text
    assert house.engine.requests == [] and house.spooled() == []


def test_the_deepest_body_that_passes_the_door_is_also_captured(house: Any) -> None:
    house.open().post(x=json.loads("[" * 252 + "]" * 252))
    assert house.only().status == 200


def test_what_could_reach_past_the_request_is_stripped(house: Any) -> None:
    evil = {
        "priority": -9,
        "cache_salt": "x",
        "request_id": "mine",
        "kv_transfer_params": {},
        "vllm_xargs": {},
        "chat_template": "{{ 1 }}",
        "chat_template_kwargs": {"chat_template": "x", "enable_thinking": False},
    }
    house.open().post(temperature=0.5, **evil)
    sent = house.engine.requests[-1][1]
    assert sent == CHAT | {"model": "reviews-7", "temperature": 0.5, "chat_template_kwargs": {"enable_thinking": False}}


def test_store_false_keeps_the_counts_and_drops_the_text(house: Any) -> None:
    house.open().post(store=False)
    house.events(store=False)
    for record in house.spooled():
        assert isinstance(record, Interaction)
        assert (record.request, record.answer, record.completion_tokens, record.status) == (None, None, 4, 200)


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_is_down_is_503_with_retry_after(house: Any, stream: bool) -> None:
    answer = house.open(CLOSED).post(stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_down")
    assert answer.headers["retry-after"] == "2" and house.only().status == 503


def test_the_next_engine_answers_when_one_takes_no_connection(house: Any) -> None:
    house.open(CLOSED, house.engine_url)
    assert [house.post().status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_an_engines_error_is_passed_on_and_captured(house: Any, stream: bool) -> None:
    house.open().engine.fault = "error"
    answer = house.post(stream=stream)
    assert (answer.status_code, answer.json()["error"]["type"], house.only().status) == (500, "fake", 500)


def test_an_engine_that_lost_its_adapters_is_503_until_it_has_them_again(house: Any) -> None:
    house.open().engine.adapters = {}
    assert [house.post().status_code for _ in range(5)] == [503] * 5
    house.engine.adapters = {"reviews-7": "/x"}
    assert house.post().status_code == 200


def test_a_break_in_the_middle_of_a_stream_is_told_and_captured(house: Any) -> None:
    house.open().engine.fault = "break"
    *chunks, last = house.events()
    assert json.loads(last)["error"]["code"] == "engine_down"
    record = house.only()
    seen = "".join(json.loads(c)["choices"][0]["delta"].get("content", "") for c in chunks)
    assert (record.status, record.answer, ANSWER.startswith(seen)) == (503, seen, True) and seen


def test_a_break_in_the_middle_of_a_whole_answer_is_503(house: Any) -> None:
    house.open().engine.fault = "break"
    assert house.post().status_code == 503 and house.only().status == 503


def test_a_version_is_chosen_by_those_who_may_look_into_operations(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "app")
    monkeypatch.setenv("LORALOOP_OPS_KEY", "ops")
    house.open(access="keys")
    house.http.headers["Authorization"] = "Bearer app"
    assert house.post(model="reviews@7").json()["error"]["code"] == "forbidden"
    house.http.headers["Authorization"] = "Bearer ops"
    assert house.post(model="reviews@7").status_code == 200
    assert (house.only().arm, house.only().bucket) == ("pinned", None)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"3", b'{"choices": 3}', b'{"choices": [3]}', b"\xff"])
def test_an_engines_answer_that_is_no_json_is_502_and_on_record(
    house: Any, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(house.engine, "reply", lambda *_: (200, content))
    answer = house.open().post()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")
    assert house.only().status == 502


def test_an_error_repeats_little_of_what_was_asked(house: Any) -> None:
    house.open()
    long = "x" * 100_000
    for answer in (
        house.post(model=long),
        house.post(model=f"{long}@1"),
        house.post(model=f"reviews@{long}"),
        house.http.get(f"/v1/models/{long[:5000]}"),
    ):
        assert answer.status_code == 404 and len(answer.text) < 400


def test_an_engine_that_hangs_is_given_up(house: Any) -> None:
    house.open(request_timeout_s=0.2).engine.fault = "hang"
    assert house.post().status_code == house.post(stream=True).status_code == 504


def test_an_engines_error_inside_a_stream_is_no_success(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [b'data: {"choices": []}\n\n', b'data: {"error": {"message": "x"}}\n\n', b"data: [DONE]\n\n"]
    monkeypatch.setattr(house.engine, "reply", lambda *_: (200, events))
    assert len(house.open().events()) == 3 and house.only().status == 500


def test_a_client_that_goes_away_is_captured_as_499_and_no_longer_in_flight(house: Any) -> None:
    house.open().engine.gap_s = 0.05
    with house.http.stream("POST", "/v1/chat/completions", json=CHAT | {"stream": True}) as answer:
        next(answer.iter_lines())
    record = house.only()
    assert record.status == 499 and record.answer is not None and ANSWER.startswith(record.answer)
    house.until(lambda: 'loraloop_in_flight{model="reviews",version="7"} 0.0' in house.http.get("/metrics").text)
    assert house.app.state.tables.in_flight == {}  # or it would grow with every version, and what it polls with


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_before_the_end_pays_for_what_was_asked_and_seen(house: Any, stream: bool) -> None:
    ring = ApiKeyStore(store=Store(":memory:"), clock=utc_now)
    made = ring.make(NewKey("app", (Scope.INFER,), limits=Limits(tokens_per_minute=100)), "test")
    house.open(access="keys", keys=ring.grants).engine.gap_s = 0.2
    house.engine.fault = "" if stream else "hang"
    body = CHAT | {"stream": stream, "messages": [{"role": "user", "content": "word " * 200}]}
    headers = {"Authorization": f"Bearer {made.key}"}
    asked = house.http.stream("POST", "/v1/chat/completions", json=body, headers=headers, timeout=0.5)
    with suppress(httpx.ReadTimeout), asked as answer:
        next(answer.iter_lines())
    assert house.only().status == 499
    house.engine.fault = ""
    again = house.http.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert again.status_code == 429 and again.headers["x-ratelimit-remaining-tokens"] == "0"


def test_a_client_that_does_not_wait_for_a_whole_answer_costs_no_engine_any_longer(house: Any) -> None:
    house.open().engine.fault = "hang"
    with pytest.raises(httpx.ReadTimeout):
        house.http.post("/v1/chat/completions", json=CHAT, timeout=0.3)
    assert house.only().status == 499
    house.until(lambda: 'loraloop_in_flight{model="reviews",version="7"} 0.0' in house.http.get("/metrics").text)


def test_above_the_bound_in_flight_it_is_429_with_retry_after(house: Any) -> None:
    house.open(max_in_flight=1).engine.fault = "hang"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(house.post)
        house.until(lambda: len(house.http.get("/metrics").text.split('version="7"} 1.0')) == 2)
        second = house.post()
        house.engine.fault = ""
        assert (second.status_code, second.headers["retry-after"]) == (429, "2")
        assert second.json()["error"]["type"] == "rate_limit_error" and first.result().status_code == 200


def test_keys_are_wanted_when_one_is_set(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "s3cret")
    house.open(access="keys")
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    calls = [
        ("POST", "/v1/chat/completions", CHAT),
        ("POST", "/v1/feedback", vote),
        ("GET", "/v1/models", None),
        ("DELETE", "/v1/feedback/f", None),
    ]
    for method, path, body in calls:
        assert house.http.request(method, path, json=body).status_code == 401
        right = {"Authorization": "Bearer s3cret"}
        assert house.http.request(method, path, json=body, headers=right).status_code in (200, 202)
    assert house.http.get("/health").status_code == 200


def test_without_a_table_it_is_not_ready_but_takes_feedback(house: Any) -> None:
    house.open(cached=False)
    assert house.http.get("/ready").status_code == 503 and house.post().status_code == 409
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    assert house.http.post("/v1/feedback", json=vote).status_code == 202
    assert isinstance(house.spooled()[0], Feedback)


def test_a_full_disk_refuses_feedback_while_chat_still_answers(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    house.open()
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        refused = house.http.post("/v1/feedback", json=vote)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert house.post().status_code == 200 and house.events()[-1] == "[DONE]"
        assert house.http.get("/ready").json()["interactions_dropped"] == 2
        assert "loraloop_interactions_dropped 2.0" in house.http.get("/metrics").text
    assert house.http.post("/v1/feedback", json=vote).status_code == 202 and house.post().status_code == 200
    assert len(house.spooled()) == 2


def test_with_control_alive_the_table_comes_and_the_spool_goes(house: Any) -> None:
    board, store, control = RoutePublisher(), Store(":memory:"), FastAPI()
    control.include_router(publisher.create_router(board))
    control.include_router(ingest.create_router(store))
    board.publish(house.table(house.engine_url))
    with running(control) as url:
        house.open(control=url, cached=False)
        house.until(lambda: house.http.get("/ready").status_code == 200)
        house.post()
        identity = house.post().json()["id"]
        house.http.post("/v1/feedback", json={"interaction_id": identity, "type": "label", "value": "a"})
        house.until(lambda: feedback.by_type(store, model="reviews") == [{"type": "label", "n": 1}])
        house.until(lambda: house.http.get("/ready").json()["unshipped_bytes"] == 0)
        assert board.await_switch().gateways == 1
        house.stack.close()
    store.close()
