"""The completion routes, as plain ASGI: read, choose a version, forward, capture, answer.

FastAPI would take more time than all of these steps. See docs/internals/gateway-benchmark.md.
"""

import asyncio
import time
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from core import api_keys
from core.clock import Clock
from core.errors import EngineDown, EngineError, LoraLoopError
from core.http import bug, read_body, refusal
from core.records import Endpoint
from serve.engines.http_response import ConnectionBroken
from serve.engines.pool import Call, EnginePool
from serve.gateway.answers import LARGEST_ANSWER, NO_ANSWER, Answer, read_answer
from serve.gateway.authentication import KeyChecker, RequestPermit
from serve.gateway.capture import LARGEST_STORED_STREAM, Recorder, StreamRecorder
from serve.gateway.metrics import Metrics
from serve.gateway.request import CompletionRequest, open_request
from serve.retrieval.retriever import rewrite_prompt
from serve.routing.subscriber import RouteSubscriber

ENDPOINTS: dict[str, Endpoint] = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
PATHS: dict[Endpoint, str] = {endpoint: path for path, endpoint in ENDPOINTS.items()}
JSON = "application/json"
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
# The last event of a stream; by then the exchange must be captured.
DONE = b"data: [DONE]"
WATCH_SECONDS = 0.05
CLIENT_GONE = 499


class DisconnectWatcher:
    """Cancels a request's work when its client goes: an answer that nobody reads must not cost an engine.

    It begins after a moment, for a short answer is over by then and a task would be a tenth of its cost.
    """

    def __init__(self, receive: Receive, work: "asyncio.Task[Any]") -> None:
        self.gone = False
        self._receive = receive
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._begin)

    def end(self) -> None:
        """Looks no longer."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._work.cancel()


class Completions:
    """Serves the completion routes. Its collaborators come in through the constructor."""

    def __init__(
        self,
        *,
        tables: RouteSubscriber,
        upstream: EnginePool,
        recorder: Recorder,
        metrics: Metrics,
        access: KeyChecker,
        clock: Clock,
        max_body_bytes: int,
    ) -> None:
        self.tables = tables
        self.upstream = upstream
        self.recorder = recorder
        self.metrics = metrics
        self.access = access
        self.clock = clock
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. The answer's `id` is what feedback names."""
        started, exchange = time.perf_counter(), None
        try:
            admission = self.access.admit(_authorization(scope), api_keys.Scope.INFER)
            try:
                content = await read_body(scope, receive, self.max_body_bytes)
                exchange = open_request(content, ENDPOINTS[scope["path"]], self.tables.table, admission, started)
                exchange.headers = _headers(admission, exchange)
                if exchange.choice.target.retrieval is not None:
                    retriever = self.tables.library.retriever(exchange.choice.target.retrieval)
                    exchange.shown = rewrite_prompt(retriever, exchange.endpoint, exchange.body)
                await self._until_gone(exchange, receive, send)
            finally:
                admission.release(exchange.tokens if exchange else 0)
        except ClientDisconnect:
            return
        except LoraLoopError as error:
            if exchange is None:
                self.metrics.refused.labels(str(error.status)).inc()
            await refusal(error)(scope, receive, send)
        except Exception as error:
            await bug(error)(scope, receive, send)

    async def _until_gone(self, exchange: CompletionRequest, receive: Receive, send: Send) -> None:
        """Forwards, but stops when the client goes."""
        work = asyncio.current_task()
        assert work is not None
        watch = DisconnectWatcher(receive, work)
        in_flight, flight = self.tables.in_flight, (exchange.choice.model, exchange.choice.target.version)
        in_flight[flight] += 1
        try:
            await (self._stream if exchange.streamed else self._whole)(exchange, send)
        except asyncio.CancelledError:
            if not watch.gone:
                raise  # the server ends
            work.uncancel()
            raise ClientDisconnect from None
        finally:
            in_flight[flight] -= 1
            if not in_flight[flight]:
                del in_flight[flight]  # or it would grow with every version that ever served
            watch.end()

    def _post(self, exchange: CompletionRequest) -> Call:
        headers = {"Content-Type": "application/json", "X-Request-Id": exchange.engine_id}
        engines = self.tables.table.holders(exchange.choice.target.engine_name)
        return self.upstream.post(engines, PATHS[exchange.endpoint], exchange.upstream_body(), headers)

    async def _whole(self, exchange: CompletionRequest, send: Send) -> None:
        try:
            async with self._post(exchange) as upstream:
                content, status, kind = await upstream.read(), upstream.status, upstream.content_type
        except asyncio.CancelledError:
            self._record(exchange, status=CLIENT_GONE)
            raise
        except LoraLoopError as error:
            self._record(exchange, status=error.status)
            raise
        except (ConnectionBroken, TimeoutError) as error:
            self._record(exchange, status=EngineDown.status)
            raise EngineDown("The engine broke off while it answered.", hint="Try again.") from error
        try:
            data = orjson.loads(content) if status == 200 else {}
            answer = read_answer(data.get("choices", ()))
        except (ValueError, TypeError, AttributeError) as error:
            self._record(exchange, status=EngineError.status)
            raise EngineError("The engine's answer cannot be read.", hint="Try again; see the engine's log.") from error
        self._record(
            exchange,
            status=status,
            answer=answer,
            usage=data.get("usage") or {},
            completion=data if exchange.stores and status == 200 else None,
        )
        await send_whole(send, exchange, status, content, kind)

    async def _stream(self, exchange: CompletionRequest, send: Send) -> None:
        """Passes the engine's events on as they come, the last one once all are captured."""
        tee = StreamRecorder(LARGEST_STORED_STREAM if exchange.stores else LARGEST_ANSWER)
        status, recorded = CLIENT_GONE, False
        try:
            async with self._post(exchange) as upstream:
                if upstream.status != 200:
                    status = upstream.status
                    kind = upstream.content_type
                    await send_whole(send, exchange, status, await upstream.read(), kind)
                    return
                await send({"type": "http.response.start", "status": 200, "headers": [EVENTS, *exchange.headers]})
                splitter = EventSplitter()
                while chunk := await upstream.readany():
                    if exchange.first_byte is None:
                        exchange.first_byte = time.perf_counter()
                    for event in splitter.feed(chunk):
                        only_usage = tee.take(event)
                        if only_usage and not exchange.wants_usage:
                            continue
                        if event.startswith(DONE):
                            recorded = self._record_stream(exchange, 500 if tee.failed else 200, tee)
                        await send({"type": "http.response.body", "body": event, "more_body": True})
                if not recorded:
                    recorded = self._record_stream(exchange, 500, tee)
                await send({"type": "http.response.body", "body": splitter.rest})
        except LoraLoopError as error:
            status = error.status
            raise
        except (ConnectionBroken, TimeoutError):
            recorded = self._record_stream(exchange, EngineDown.status, tee)
            broken = stream_error("The engine broke off while it answered. Try again.")
            await send({"type": "http.response.body", "body": broken})
        finally:
            if not recorded:
                self._record_stream(exchange, status, tee)

    def _record_stream(self, exchange: CompletionRequest, status: int, tee: StreamRecorder) -> bool:
        exchange.pieces = tee.pieces
        self._record(
            exchange,
            status=status,
            answer=tee.answer(),
            usage=tee.usage,
            completion=tee.completion() if exchange.stores and status == 200 else None,
        )
        return True

    def _record(
        self,
        exchange: CompletionRequest,
        *,
        status: int,
        answer: Answer = NO_ANSWER,
        usage: dict[str, Any] | None = None,
        completion: dict[str, Any] | None = None,
    ) -> None:
        usage = usage or {}
        exchange.tokens = usage.get("total_tokens") or (exchange.guessed if status == CLIENT_GONE else 0)
        interaction = exchange.interaction(self.clock, status=status, answer=answer, usage=usage)
        self.recorder.record(interaction, exchange.stored(interaction, completion) if completion else None)
        self.metrics.observe(interaction)


async def send_whole(send: Send, exchange: CompletionRequest, status: int, content: bytes, kind: str | None) -> None:
    """Sends an engine's answer as it came, of the media type that it was said to be."""
    headers = [(b"content-type", (kind or JSON).encode()), (b"content-length", b"%d" % len(content)), *exchange.headers]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class EventSplitter:
    """Cuts a stream of bytes into server-sent events, each with the blank line that ends it."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are whole with this chunk, which may begin and end anywhere."""
        if not self.rest and chunk.endswith(b"\n\n") and chunk.count(b"\n\n") == 1:
            return [chunk]  # as engines send them: one event at a time
        *whole, self.rest = (self.rest + chunk).split(b"\n\n")
        return [event + b"\n\n" for event in whole]


def stream_error(message: str) -> bytes:
    """An error as a stream's last event, since its status was sent long ago."""
    body = {"error": {"message": message, "type": "server_error", "param": None, "code": "engine_down"}}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _authorization(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return str(value, "latin-1")
    return None


def _headers(admission: RequestPermit, exchange: CompletionRequest) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer: its id, its version, and what is left of the key's limits."""
    version = f"{exchange.choice.model}@{exchange.choice.target.version}"
    headers = [(b"x-request-id", exchange.id.encode()), (b"x-loraloop-version", version.encode())]
    return headers + [(name.encode(), value.encode()) for name, value in admission.headers.items()]
