"""Facts about traces: what a span says, whose it is, and that without tracing there is none."""

import json
import sys
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from core.settings import build
from ops.apps.gateway import GatewayApp, create_tracing
from serve.gateway.tracing import Tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Traced:
    """A gateway whose spans stay in memory."""

    def __init__(self, gateway: Any, *engines: str, content: bool = False, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.gateway = gateway.open(*engines, tracing=Tracing(provider, content=content), **options)

    def spans(self, count: int) -> list[ReadableSpan]:
        self.gateway.until(lambda: len(self.exporter.get_finished_spans()) >= count)
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_a_span_of_the_clients_trace_and_the_engine_goes_on_from_ours(gateway: Any, stream: bool) -> None:
    traced = Traced(gateway)
    gateway.http.headers["traceparent"] = PARENT
    answer = gateway.post(stream=stream, temperature=0.5, max_tokens=8, seed=3, top_p="hot", stop=None)
    assert answer.status_code == 200
    server, client = traced.spans(2)
    assert server.parent is not None and client.parent is not None and server.context and client.context
    assert f"{server.context.trace_id:032x}" == f"{client.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331" and client.parent.span_id == server.context.span_id
    assert gateway.engine.traces[-1] == f"00-{TRACE}-{client.context.span_id:016x}-01"
    assert (server.kind, client.kind, client.name) == (SpanKind.SERVER, SpanKind.CLIENT, "chat reviews")
    assert said(server)["http.response.status_code"] == 200 and said(server)["url.path"] == "/v1/chat/completions"
    found, record = said(client), gateway.only()
    assert found.pop("loraloop.first_byte_ms", 0) >= 0
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "reviews",
        "gen_ai.response.id": record.id,
        "gen_ai.response.model": "reviews-7",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 8,
        "gen_ai.request.seed": 3,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 4,
        "loraloop.version": 7,
        "loraloop.arm": "champion",
        "loraloop.cause": "answered",
    }


def test_text_is_in_a_span_only_with_the_option_and_never_of_what_must_not_be_stored(gateway: Any) -> None:
    traced = Traced(gateway, content=True)
    gateway.post()
    gateway.post("/v1/completions", prompt="so good")
    gateway.post(store=False)
    spans = [span for span in traced.spans(6) if span.kind is SpanKind.CLIENT]
    chat, completion, private = map(said, spans)
    assert json.loads(chat["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "so good"}]}
    ]
    (given,) = json.loads(completion["gen_ai.output.messages"])
    assert given["finish_reason"] == "stop" and given["parts"][0]["content"] == "reviews-7 heard so good"
    assert "so good" in completion["gen_ai.input.messages"] and "so good" not in str(private)


def test_by_default_no_text_of_prompt_or_answer_is_in_any_span(gateway: Any) -> None:
    traced = Traced(gateway)
    gateway.post(messages=[{"role": "user", "content": "s3cret"}], user="ada")
    gateway.engine.fault = "error"
    gateway.post(messages=[{"role": "user", "content": "s3cret"}])
    for span in traced.spans(4):
        assert "s3cret" not in span.to_json() and '"ada"' not in span.to_json()  # an id may have these three letters


def test_a_failure_is_an_error_of_its_span(gateway: Any) -> None:
    traced = Traced(gateway, "http://127.0.0.1:9")
    gateway.post()
    server, client = traced.spans(2)
    assert said(client)["error.type"] == said(server)["error.type"] == "503"
    assert client.status.status_code is server.status.status_code is StatusCode.ERROR and not client.events


def test_what_is_refused_has_a_span_of_its_request_alone_and_one_of_few_names(gateway: Any) -> None:
    traced = Traced(gateway)
    gateway.post(model="nobody")
    gateway.http.get("/v1/models/nobody")
    gateway.http.get("/nowhere/at/all")
    names = [span.name for span in traced.spans(3)]
    assert set(names) <= {"POST", "GET", "GET /v1/models/{model:path}"} and len(names) == 3
    assert all(span.kind is SpanKind.SERVER for span in traced.spans(3))


@pytest.mark.parametrize("odd", ["", "x", "00-zz-1-01", PARENT + "-more", "\xff" * 99, "00-" + "0" * 32 + "-1-01"])
def test_an_odd_traceparent_begins_a_trace_of_our_own(gateway: Any, odd: str) -> None:
    traced = Traced(gateway)
    answer = httpx.post(
        f"{gateway.http.base_url}/v1/chat/completions",
        headers=[(b"traceparent", odd.encode("latin-1"))],
        json={"model": "reviews", "messages": [{"role": "user", "content": "x"}]},
        trust_env=False,
    )
    assert answer.status_code == 200
    assert traced.spans(2)[0].parent is None


def test_unsampled_traces_stay_so(gateway: Any) -> None:
    traced = Traced(gateway)
    gateway.http.headers["traceparent"] = PARENT[:-2] + "00"
    assert gateway.post().status_code == 200
    httpx.get(f"{gateway.engine_url}/health", trust_env=False)  # as the gateway's own clock asks, at any moment
    assert traced.exporter.get_finished_spans() == ()
    assert (gateway.engine.traces[-1] or "").endswith("-00")


def test_without_tracing_the_app_is_the_plain_one(gateway: Any) -> None:
    gateway.open()
    gateway.http.headers["traceparent"] = PARENT
    gateway.post()
    assert type(gateway.app) is GatewayApp and gateway.engine.traces[-1] is None
    assert type(gateway.app.completions).__module__ == "serve.gateway.completions"


@pytest.mark.parametrize(
    ("tracing", "environment", "on"),
    [
        ({}, {}, False),
        ({"enabled": True}, {}, True),
        ({"endpoint": "http://127.0.0.1:9"}, {}, True),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({"enabled": False}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, False),
        ({"enabled": True}, {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_tracing_is_on_where_settings_or_environment_say_so(
    monkeypatch: pytest.MonkeyPatch, tracing: Any, environment: dict[str, str], on: bool
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = build({"models": {"m": {"labels": ["a", "b"]}}, "tracing": tracing})
    found = create_tracing(settings)
    assert (found is not None) is on
    if found:
        found.stop()
        assert "serve.gateway.tracing" in sys.modules
