"""The OpenAI-compatible routes that apps call.

It owns the request's way through the gateway: parse, choose a version, forward, capture. It must not
know where the routing table comes from nor what is done with what it captured.
"""

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from core.clock import Clock
from core.errors import EngineDown, InputError, LoraLoopError
from core.http import read_json
from core.records import Endpoint, Interaction
from serve.capture import Recorder, StreamTee, answer_of, kept_request
from serve.metrics import Metrics
from serve.routing import Choice, sticky_key
from serve.tables import TableKeeper
from serve.upstream import Upstream

PATHS: dict[Endpoint, str] = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
PREFIX: dict[Endpoint, str] = {"chat": "chatcmpl-", "completion": "cmpl-"}
# Fields by which a client could reach past its own request: its place in the queue, the prefix cache of
# others, the id that feedback will name; a template of its own, which engines here trust.
STRIPPED = (
    "priority", "cache_salt", "request_id", "kv_transfer_params", "ec_transfer_params", "vllm_xargs", "chat_template",
)  # fmt: skip


class TooMany(LoraLoopError):
    """The gateway holds as many requests as it may."""

    status = 429
    retry = True


@dataclass(slots=True)
class Exchange:
    """One request on its way: what was asked, who answers, and since when."""

    id: str
    endpoint: Endpoint
    model: str
    body: dict[str, Any]
    choice: Choice
    user: str | None
    conversation: str | None
    started: float
    wants_usage: bool
    first_byte: float | None = None

    def interaction(self, clock: Clock, *, status: int, answer: str | None, finish: str | None,
                    usage: dict[str, Any]) -> Interaction:  # fmt: skip
        """The record of this exchange as it stands now."""
        now = time.perf_counter()
        kept = kept_request(self.body)
        return Interaction(
            id=self.id,
            time=clock(),
            model=self.model,
            version=self.choice.target.version,
            arm=self.choice.arm,
            share=self.choice.share,
            bucket=self.choice.bucket,
            user=self.user,
            conversation=self.conversation,
            endpoint=self.endpoint,
            request=kept,
            answer=answer if kept is not None else None,
            finish_reason=finish,
            status=status,
            latency_ms=(now - self.started) * 1000,
            ttft_ms=(self.first_byte - self.started) * 1000 if self.first_byte else None,
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            streamed=bool(self.body.get("stream")),
        )


class Gateway:
    """Serves completions. Its collaborators come in through the constructor."""

    def __init__(self, *, tables: TableKeeper, upstream: Upstream, recorder: Recorder, metrics: Metrics,
                 clock: Clock, max_in_flight: int, max_body_bytes: int) -> None:  # fmt: skip
        self.tables = tables
        self.upstream = upstream
        self.recorder = recorder
        self.metrics = metrics
        self.clock = clock
        self.max_in_flight = max_in_flight
        self.max_body_bytes = max_body_bytes

    async def complete(self, request: Request, endpoint: Endpoint) -> Response:
        """Answers one request. The answer's `id` is what feedback names."""
        started = time.perf_counter()
        body = await read_json(request, self.max_body_bytes)
        _check(body)
        if self.tables.in_flight.total() >= self.max_in_flight:
            raise TooMany("Too many requests are in flight.", hint="Wait for the time in Retry-After.")
        exchange = self._exchange(body, endpoint, started)
        if body.get("stream"):
            events = self._stream(exchange)
            # The first event is awaited here, so that an engine's refusal keeps its status code.
            first = await anext(events)
            if isinstance(first, Response):
                await events.aclose()
                return first
            return StreamingResponse(_rest(first, events), media_type="text/event-stream",
                                     headers=_headers(exchange))  # fmt: skip
        return await self._whole(exchange)

    def _exchange(self, body: dict[str, Any], endpoint: Endpoint, started: float) -> Exchange:
        model = body.get("model")
        if not isinstance(model, str):
            raise InputError("model: name the model as a string.", hint="See GET /v1/models.")
        key, user, conversation = sticky_key(body)
        choice = self.tables.table.choose(model, key)
        options = body.get("stream_options")
        wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        identity = PREFIX[endpoint] + secrets.token_hex(16)
        return Exchange(identity, endpoint, model, body, choice, user, conversation, started, wants_usage)

    def _upstream_body(self, exchange: Exchange) -> bytes:
        body = {name: value for name, value in exchange.body.items() if name not in STRIPPED}
        body["model"] = exchange.choice.target.engine_name
        if isinstance(kwargs := body.get("chat_template_kwargs"), dict):
            body["chat_template_kwargs"] = {name: v for name, v in kwargs.items() if name != "chat_template"}
        if body.get("stream"):
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return orjson.dumps(body)

    def _post(self, exchange: Exchange) -> Any:
        request_id = exchange.id.removeprefix(PREFIX[exchange.endpoint])
        engines = self.tables.table.engines
        return self.upstream.post(engines, PATHS[exchange.endpoint], self._upstream_body(exchange), request_id)

    async def _whole(self, exchange: Exchange) -> Response:
        with self.tables.flying(exchange.model, exchange.choice.target.version):
            try:
                async with self._post(exchange) as upstream:
                    content, status = await upstream.read(), upstream.status
            except EngineDown:
                self._record(exchange, status=503)
                raise
            except (aiohttp.ClientError, TimeoutError) as error:
                self._record(exchange, status=503)
                raise EngineDown("The engine broke off while it answered.", hint="Try again.") from error
            data = orjson.loads(content) if status == 200 else {}
            answer, finish = answer_of(data.get("choices", ()))
            self._record(exchange, status=status, answer=answer, finish=finish, usage=data.get("usage") or {})
        return Response(content, status, _headers(exchange), "application/json")

    async def _stream(self, exchange: Exchange) -> AsyncGenerator[Any, None]:
        """Yields the engine's events, or one Response when it refuses. Captures at the end, however it ends."""
        tee, status, last, recorded = StreamTee(), 499, b"", False
        with self.tables.flying(exchange.model, exchange.choice.target.version):
            try:
                async with self._post(exchange) as upstream:
                    if upstream.status != 200:
                        status = upstream.status
                        yield Response(await upstream.read(), status, _headers(exchange), "application/json")
                        return
                    async for event in _events(upstream):
                        exchange.first_byte = exchange.first_byte or time.perf_counter()
                        only_usage = tee.take(event)
                        if only_usage and not exchange.wants_usage:
                            continue
                        if last:
                            yield last
                        last = event
                    recorded = self._record_stream(exchange, 500 if tee.failed else 200, tee)
                    yield last
            except (EngineDown, aiohttp.ClientError, TimeoutError) as error:
                status = 503
                if exchange.first_byte is None:
                    raise EngineDown("No engine answers at the moment.", hint="Try again.") from error
                recorded = self._record_stream(exchange, status, tee)
                yield last + _stream_error("The engine broke off while it answered. Try again.")
            finally:
                if not recorded:
                    self._record_stream(exchange, status, tee)

    def _record_stream(self, exchange: Exchange, status: int, tee: StreamTee) -> bool:
        self._record(exchange, status=status, answer="".join(tee.text), finish=tee.finish_reason, usage=tee.usage)
        return True

    def _record(self, exchange: Exchange, *, status: int, answer: str | None = None, finish: str | None = None,
                usage: dict[str, Any] | None = None) -> None:  # fmt: skip
        interaction = exchange.interaction(
            self.clock, status=status, answer=answer, finish=finish, usage=usage or {}
        )
        self.recorder.record(interaction)
        self.metrics.observe(interaction)

    def models(self) -> dict[str, Any]:
        """The public models, in OpenAI's shape, each with the version that serves it."""
        entries = [
            {"id": name, "object": "model", "created": 0, "owned_by": "loraloop",
             "version": route.champion.version}
            for name, route in sorted(self.tables.table.models.items())
        ]  # fmt: skip
        return {"object": "list", "data": entries}


def create_router(gateway: Gateway) -> APIRouter:
    """The routes under /v1 for apps."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await gateway.complete(request, "chat")

    @router.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await gateway.complete(request, "completion")

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        return gateway.models()

    return router


def _check(body: Any) -> None:
    if not isinstance(body, dict):
        raise InputError("The body is not a JSON object.", hint="Send one JSON object.")
    if not isinstance(body.get("stream"), bool | None):
        raise InputError("stream: takes true or false.")
    if not isinstance(body.get("stream_options"), dict | None):
        raise InputError("stream_options: takes an object.")
    try:
        orjson.dumps([body])  # one deeper, as the spool's record holds it
    except TypeError as error:
        raise InputError("The body is nested too deeply.") from error


def _headers(exchange: Exchange) -> dict[str, str]:
    return {
        "X-Request-Id": exchange.id,
        "X-LoraLoop-Version": f"{exchange.model}@{exchange.choice.target.version}",
    }


async def _events(upstream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The server-sent events of a response, each with the blank line that ends it."""
    rest = b""
    async for chunk in upstream.content.iter_any():
        rest += chunk
        *whole, rest = rest.split(b"\n\n")
        for event in whole:
            yield event + b"\n\n"
    if rest:
        yield rest


async def _rest(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for event in events:
        yield event


def _stream_error(message: str) -> bytes:
    body = {"error": {"message": message, "type": "server_error", "param": None, "code": "engine_down"}}
    return b"data: " + orjson.dumps(body) + b"\n\n"
