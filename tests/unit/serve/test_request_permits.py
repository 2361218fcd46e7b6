"""Facts about the permit of a request: it is released once, however the request ends."""

from typing import Any

from core.api_keys import Grant, Limits, Scope, digest_of


def test_a_slot_is_given_back_once_however_a_request_ends(gateway: Any) -> None:
    grant = Grant("k1", digest_of("s3cret"), (Scope.INFER,), limits=Limits(concurrent=1))
    http = gateway.open(access="keys", keys=(grant,)).http
    http.headers["Authorization"] = "Bearer llk_k1_s3cret"
    access = gateway.app.completions.access
    question = [{"role": "user", "content": "so good"}]
    for path, body, fault, status in (
        ("chat/completions", {}, "", 200),
        ("chat/completions", {"stream": True}, "", 200),
        ("messages", {"max_tokens": 4}, "", 200),
        ("responses", {"input": "so good", "stream": True}, "", 200),
        ("chat/completions", {"model": "other"}, "", 404),
        ("chat/completions", {"n": 99}, "", 422),
        ("messages", {"max_tokens": 4, "messages": 5}, "", 400),
        ("chat/completions", {}, "error", 500),
        ("messages", {"max_tokens": 4}, "error", 500),
        ("responses", {"input": "so good"}, "break", 503),
        ("chat/completions", {"stream": True}, "break", 200),
    ):
        gateway.engine.fault = fault
        chat = {} if path == "responses" else {"messages": question}
        answer = http.post(f"/v1/{path}", json={"model": "reviews", **chat, **body})
        assert answer.status_code == status, (path, body, answer.text)
        gateway.until(lambda: access._meters["k1"]._flying == 0)
    gateway.engine.fault, gateway.engine.gap_s = "", 0.05
    with http.stream(
        "POST", "/v1/chat/completions", json={"model": "reviews", "messages": question, "stream": True}
    ) as answer:
        next(answer.iter_lines())
        assert access._meters["k1"]._flying == 1 and gateway.post().status_code == 429
    gateway.until(lambda: access._meters["k1"]._flying == 0)
