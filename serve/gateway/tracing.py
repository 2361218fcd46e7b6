"""Trace requests with OpenTelemetry, with the names of its GenAI conventions.

Spans contain text of prompts and answers only if the settings say so. While tracing is off, nothing imports this
module.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.settings import TracingSettings
from serve.engines.pool import Call, EnginePool
from serve.gateway.answers import NO_ANSWER, Answer
from serve.gateway.completions import Completions
from serve.gateway.outcome import Outcome
from serve.gateway.request import CompletionRequest
from serve.gateway.vote_events import VoteEvents, log_provider

# Of what a request may say, what the conventions have a name for; a value of another type is left out.
NUMBERS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
COUNTS = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}
OPERATIONS = {"chat": "chat", "completion": "text_completion"}
W3C = TraceContextTextMapPropagator()
INT64 = 2**63
# OpenTelemetry's name of a service that nobody has named.
UNNAMED = "unknown_service"


def create_tracing(settings: TracingSettings, labels: Collection[str]) -> "Tracing":
    """What traces a gateway by these settings. `labels` are those of all models."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith(UNNAMED):  # OTEL_SERVICE_NAME is not set
        resource = resource.merge(Resource({SERVICE_NAME: "loraloop-gateway"}))
    votes = None
    if settings.feedback:
        votes = VoteEvents(log_provider(resource, settings.endpoint), labels, content=settings.content)
    return Tracing(_span_provider(resource, settings.endpoint), content=settings.content, votes=votes)


def _span_provider(resource: Resource, endpoint: str | None) -> TracerProvider:
    """Sends spans by OTLP over HTTP; sampling, headers and the rest are set by OpenTelemetry's own environment."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class Tracing:
    """What makes the spans of one gateway, and the events of its votes if these are on."""

    def __init__(self, provider: TracerProvider, *, content: bool = False, votes: VoteEvents | None = None) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("loraloop")
        self.content = content
        self.votes = votes

    def stop(self) -> None:
        """Sends what was not sent yet. Blocks."""
        self._provider.shutdown()
        if self.votes is not None:
            self.votes.stop()


class TracedApp:
    """A span for each request to the gateway, within the trace that the client names by `traceparent`."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracer = tracing.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"], "url.scheme": scope["scheme"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=W3C.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        _failed(span, str(message["status"]))
                await send(message)

            await self._app(scope, receive, sending)
            # Only the path of a route may be a span's name, because the number of routes is small.
            route = getattr(scope.get("route"), "path", None)
            if route:
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)


class TracedUpstream(EnginePool):
    """Send the current span to engines, which continue the trace if they are configured to."""

    def post(
        self, engines: Sequence[str], path: str, body: bytes, headers: dict[str, str], *, streamed: bool = False
    ) -> Call:
        """As any upstream does."""
        W3C.inject(headers)
        return super().post(engines, path, body, headers, streamed=streamed)


class TracedCompletions(Completions):
    """Completions with one span per request to an engine."""

    def __init__(self, *, tracing: Tracing, **collaborators: Any) -> None:
        super().__init__(**collaborators)
        self._tracing = tracing

    async def _until_gone(self, exchange: CompletionRequest, receive: Receive, send: Send) -> None:
        name = f"{OPERATIONS[exchange.endpoint]} {exchange.choice.model}"
        with self._tracing.tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes=_asked(exchange),
            record_exception=False,
            set_status_on_exception=False,
        ):
            await super()._until_gone(exchange, receive, send)

    def _record(
        self,
        exchange: CompletionRequest,
        outcome: Outcome,
        *,
        answer: Answer = NO_ANSWER,
        usage: dict[str, Any] | None = None,
        completion: dict[str, Any] | None = None,
    ) -> None:
        super()._record(exchange, outcome, answer=answer, usage=usage, completion=completion)
        span = trace.get_current_span()
        if not span.is_recording():
            return
        span.set_attributes(_answered(exchange, answer.finish_reason, usage or {}) | {"loraloop.cause": outcome.cause})
        if outcome.status >= 400:
            _failed(span, str(outcome.status))
        if self._tracing.content and exchange.body.get("store") is not False:
            span.set_attributes(_content(exchange, answer.text, answer.finish_reason))


def _failed(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _asked(exchange: CompletionRequest) -> dict[str, Any]:
    body = exchange.body
    found: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS[exchange.endpoint],
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": exchange.choice.model,
        "gen_ai.response.id": exchange.id,
        "gen_ai.response.model": exchange.choice.target.engine_name,
        "loraloop.version": exchange.choice.target.version,
        "loraloop.arm": exchange.choice.arm,
    }
    if exchange.conversation:
        found["gen_ai.conversation.id"] = exchange.conversation
    for name, attribute in NUMBERS.items():
        if isinstance(body.get(name), int | float) and abs(body[name]) < INT64:
            found[attribute] = float(body[name])
    for name, attribute in COUNTS.items():
        if type(body.get(name)) is int and abs(body[name]) < INT64:
            found[attribute] = body[name]
    if found.get("gen_ai.request.choice.count") == 1:
        del found["gen_ai.request.choice.count"]
    return found


def _answered(exchange: CompletionRequest, finish: str | None, usage: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if finish:
        found["gen_ai.response.finish_reasons"] = (finish,)
    for name, attribute in (("prompt_tokens", "input"), ("completion_tokens", "output")):
        if usage.get(name) is not None:
            found[f"gen_ai.usage.{attribute}_tokens"] = usage[name]
    if exchange.first_byte is not None:
        found["loraloop.first_byte_ms"] = (exchange.first_byte - exchange.started) * 1000
    return found


def _content(exchange: CompletionRequest, answer: str | None, finish: str | None) -> dict[str, str]:
    """Prompt and answer in the conventions' shape; what is no text of a message goes as it came."""
    if exchange.endpoint == "chat":
        asked = exchange.body.get("messages")
        messages = asked if isinstance(asked, list) else []
    else:
        messages = [{"role": "user", "content": exchange.body.get("prompt")}]
    given = [{"role": "assistant", "parts": _parts(answer), "finish_reason": finish}]
    return {
        "gen_ai.input.messages": json.dumps(
            [
                {"role": message.get("role"), "parts": _parts(message.get("content"))}
                for message in messages
                if isinstance(message, dict)
            ]
        ),
        "gen_ai.output.messages": json.dumps(given),
    }


def _parts(content: Any) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else [content]
    return [part if isinstance(part, dict) else {"type": "text", "content": part} for part in parts if part is not None]
