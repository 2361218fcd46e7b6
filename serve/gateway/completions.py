"""The completion routes, as plain ASGI: read, choose a version, forward, capture, answer.

FastAPI would take more time than all of these steps. See docs/internals/gateway-benchmark.md.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from core import api_keys
from core.clock import Clock
from core.errors import EngineDown, EngineError, EngineSlow, LoraLoopError, NotLoaded, ShuttingDown
from core.http import bug, read_body, refusal
from core.records import Endpoint
from serve.engines.http_response import ConnectionBroken, Response
from serve.engines.pool import LARGEST_BODY, PASSED_HEADERS, Call, EnginePool
from serve.gateway.answer_names import AnswerNames
from serve.gateway.answers import LARGEST_ANSWER, NO_ANSWER, Answer, read_answer
from serve.gateway.authentication import KeyChecker
from serve.gateway.capture import LARGEST_STORED_STREAM, Recorder, StreamRecorder
from serve.gateway.client_watch import ClientWatch
from serve.gateway.key_headers import authorization_of
from serve.gateway.metrics import Metrics
from serve.gateway.outcome import Outcome, of_error, of_status
from serve.gateway.passing_events import PassingEvents, PlainEvents, TranslatedEvents
from serve.gateway.request import CompletionRequest, open_request, parse_body
from serve.gateway.request_fields import check_amounts, refuse_shown_prompt
from serve.gateway.translated_errors import error_in, in_format_of
from serve.gateway.translation import Translation
from serve.retrieval.retriever import rewrite_prompt
from serve.routing.subscriber import RouteSubscriber

ENDPOINTS: dict[str, Endpoint] = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
PATHS: dict[Endpoint, str] = {endpoint: path for path, endpoint in ENDPOINTS.items()}
JSON = "application/json"
EVENTS = "text/event-stream"
# Proxies such as nginx would keep a stream back until it ends.
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
UNEXPECTED = "An unexpected error; the log of the server has it."


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may be and do. A reload replaces it."""

    max_body_bytes: int
    max_choices: int = 16
    max_tokens: int | None = None
    stalled_s: float = 60.0


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
        limits: RequestLimits,
    ) -> None:
        self.tables = tables
        self.upstream = upstream
        self.recorder = recorder
        self.metrics = metrics
        self.access = access
        self.clock = clock
        self.limits = limits

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answers one request. The answer's `id` is what feedback names."""
        return self.answer(scope, receive, send, ENDPOINTS[scope["path"]])

    async def answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        endpoint: Endpoint,
        translation: Translation | None = None,
        *,
        model: str | None = None,
    ) -> None:
        """Answers one request, of another API if there is a translation. `model` is the one that the path names."""
        started, exchange = time.perf_counter(), None
        try:
            admission = self.access.admit(authorization_of(scope), api_keys.Scope.INFER)
            try:
                content = await read_body(scope, receive, self.limits.max_body_bytes)
                body = parse_body(content)
                if model is not None:
                    body["model"] = model
                if translation is not None:
                    body = await translation.read(body, admission)
                exchange = open_request(body, content, endpoint, self.tables.table, admission, started, translation)
                del body, content  # from here on, the body of the chat is enough
                self._prepare(exchange)
                if admission.is_metered:
                    admission.reserve(exchange.most_tokens)
                exchange.headers = exchange.answer_headers(admission)
                await self._until_gone(exchange, receive, send)
            finally:
                admission.release(exchange.tokens if exchange else 0)
        except ClientDisconnect:
            return
        except LoraLoopError as error:
            if exchange is None:
                self.metrics.refused.labels(str(error.status)).inc()
            if exchange is not None and exchange.begun:
                await _end_stream(send, exchange, str(error), error.code)
            else:
                await in_format_of(translation, refusal(error))(scope, receive, send)
        except Exception as error:
            answer = bug(error)
            if exchange is not None and exchange.begun:
                await _end_stream(send, exchange, UNEXPECTED, "internal_error")
            else:
                await in_format_of(translation, answer)(scope, receive, send)

    def _prepare(self, exchange: CompletionRequest) -> None:
        """Refuse what the request may not ask for, and add what its version puts into the prompt."""
        limits = self.limits
        check_amounts(exchange.body, max_choices=limits.max_choices, max_tokens=limits.max_tokens)
        retrieval = exchange.choice.target.retrieval
        if retrieval is None:
            exchange.shown = None
        else:
            refuse_shown_prompt(exchange.body, exchange.version_name)
            exchange.shown = rewrite_prompt(self.tables.library.retriever(retrieval), exchange.endpoint, exchange.body)

    async def _until_gone(self, exchange: CompletionRequest, receive: Receive, send: Send) -> None:
        """Forwards, but stops when the client leaves, and records how the exchange ended."""
        work = asyncio.current_task()
        assert work is not None
        watch = ClientWatch(receive, send, work, self.limits.stalled_s)
        try:
            try:
                await self._answer(exchange, watch)
            except NotLoaded:
                if not self._fall_back(exchange):
                    raise
                await self._answer(exchange, watch)
        except asyncio.CancelledError as error:
            self._end(exchange, watch.outcome or of_error(error))
            work.uncancel()
            if watch.outcome is not None:
                raise ClientDisconnect from None
            raise ShuttingDown("The gateway is ending.", hint="Send the request again.") from None
        except (ConnectionBroken, TimeoutError) as error:
            self._end(exchange, of_error(error))
            if isinstance(error, TimeoutError):
                raise EngineSlow("The engine took too long for its answer.", hint="Try again; ask for less.") from error
            raise EngineDown("The engine broke off while it answered.", hint="Try again.") from error
        except Exception as error:
            self._end(exchange, of_error(error))
            raise
        finally:
            watch.end()

    async def _answer(self, exchange: CompletionRequest, watch: ClientWatch) -> None:
        in_flight, flight = self.tables.in_flight, (exchange.choice.model, exchange.choice.target.version)
        in_flight[flight] += 1
        try:
            await (self._stream if exchange.streamed else self._whole)(exchange, watch)
        finally:
            in_flight[flight] -= 1
            if not in_flight[flight]:
                del in_flight[flight]  # or it would grow with every version that ever served

    def _fall_back(self, exchange: CompletionRequest) -> bool:
        """Give the request to the champion because no engine has its version; return whether that is possible.

        The record has no bucket, so that the request counts in no live test.
        """
        choice = self.tables.table.champion_instead(exchange.choice)
        if choice is None:
            return False
        before = (b"x-loraloop-version", exchange.version_name.encode())
        exchange.choice, exchange.fell_back = choice, True
        self._prepare(exchange)
        after = (b"x-loraloop-version", exchange.version_name.encode())
        exchange.headers = [after if header == before else header for header in exchange.headers]
        return True

    def _post(self, exchange: CompletionRequest) -> Call:
        engines = self.tables.table.holders(exchange.choice.target.engine_name)
        headers = {"X-Request-Id": exchange.engine_id}
        path, body = PATHS[exchange.endpoint], exchange.upstream_body()
        return self.upstream.post(engines, path, body, headers, streamed=exchange.streamed)

    async def _whole(self, exchange: CompletionRequest, watch: ClientWatch) -> None:
        async with self._post(exchange) as upstream:
            await self._send_whole(exchange, watch.send, upstream)

    async def _send_whole(self, exchange: CompletionRequest, send: Send, upstream: Response) -> None:
        """Record an answer that is no stream, and send it."""
        upstream.check_readable()
        content, status, kind = await upstream.read(LARGEST_BODY), upstream.status, upstream.content_type
        data: dict[str, Any] = {}
        try:
            if status == 200:
                content, data = _names(exchange).rewrite_answer(content)
            answer = read_answer(data.get("choices", ()))
            if exchange.translation is not None:
                status, content = _translate(exchange.translation, status, data, content, exchange.id)
                kind = JSON
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise EngineError("The engine's answer cannot be read.", hint="Try again; see the engine's log.") from error
        self._record(
            exchange,
            of_status(upstream.status, upstream.engine),
            answer=answer,
            usage=data.get("usage") or {},
            completion=data if exchange.stores and upstream.status == 200 else None,
        )
        headers = [(name, upstream.headers[name].encode()) for name in PASSED_HEADERS if name in upstream.headers]
        await send_whole(send, exchange, status, content, kind, headers)

    async def _stream(self, exchange: CompletionRequest, watch: ClientWatch) -> None:
        """Passes the engine's events on as they come, the last one once all are captured."""
        tee = exchange.tee = StreamRecorder(LARGEST_STORED_STREAM if exchange.stores else LARGEST_ANSWER)
        async with self._post(exchange) as upstream:
            if upstream.status != 200 or EVENTS not in (upstream.content_type or EVENTS):
                exchange.tee = None
                await self._send_whole(exchange, watch.send, upstream)
                return
            upstream.check_readable()
            events = exchange.events = _events(exchange, tee)
            exchange.begun = True
            await watch.send(
                {"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS + exchange.headers}
            )
            failed = Outcome(500, "engine_error", upstream.engine)
            # Each call and coroutine here delays every chunk, by some µs after the pause before it.
            while (chunk := upstream.take()) or not upstream.complete:
                if not chunk:
                    await upstream.more()
                    continue
                if exchange.first_byte is None:
                    exchange.first_byte = time.perf_counter()
                passed = events.take(chunk)
                if events.done:
                    self._end(exchange, failed if tee.failed else of_status(200, upstream.engine))
                if passed:
                    watch.steps += 1
                    await watch.client({"type": "http.response.body", "body": passed, "more_body": True})
                    watch.steps += 1
            self._end(exchange, failed)  # unless the last event came
            await watch.send({"type": "http.response.body", "body": events.end()})

    def _end(self, exchange: CompletionRequest, outcome: Outcome) -> None:
        """Record an exchange whose answer did not come whole, or the stream that was captured. Once."""
        if exchange.outcome is not None:
            return
        tee = exchange.tee
        if tee is None:
            self._record(exchange, outcome)
            return
        exchange.pieces = tee.pieces
        self._record(
            exchange,
            outcome,
            answer=tee.answer(),
            usage=tee.usage,
            completion=tee.completion() if exchange.stores and outcome.status == 200 else None,
        )

    def _record(
        self,
        exchange: CompletionRequest,
        outcome: Outcome,
        *,
        answer: Answer = NO_ANSWER,
        usage: dict[str, Any] | None = None,
        completion: dict[str, Any] | None = None,
    ) -> None:
        usage = usage or {}
        if exchange.fell_back and outcome.cause == "answered":
            outcome = replace(outcome, cause="not_loaded")
        exchange.outcome = outcome
        exchange.tokens = outcome.tokens(usage.get("total_tokens"), exchange.guessed)
        interaction = exchange.interaction(self.clock, outcome, answer=answer, usage=usage)
        self.recorder.record(interaction, exchange.stored(interaction, completion) if completion else None)
        self.metrics.requests.observe(interaction)


async def send_whole(
    send: Send,
    exchange: CompletionRequest,
    status: int,
    content: bytes,
    kind: str | None,
    more: list[tuple[bytes, bytes]],
) -> None:
    """Sends an engine's answer, of the media type that it was said to be."""
    headers = [
        (b"content-type", (kind or JSON).encode()),
        (b"content-length", b"%d" % len(content)),
        *exchange.headers,
        *more,
    ]
    exchange.begun = True
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _end_stream(send: Send, exchange: CompletionRequest, message: str, code: str) -> None:
    """Sends an error as a stream's last event. An answer that is no stream can only end."""
    event = exchange.events.failed(message, code) if exchange.events else b""
    await send({"type": "http.response.body", "body": event})


def _translate(
    translation: Translation, status: int, completion: dict[str, Any], content: bytes, identity: str
) -> tuple[int, bytes]:
    """(status, body) of an engine's answer in the other API's format."""
    if status == 200:
        return status, translation.whole(completion)
    return translation.refused(status, error_in(content), identity)


def _events(exchange: CompletionRequest, tee: StreamRecorder) -> PassingEvents:
    names, translation = _names(exchange), exchange.translation
    if translation is None:
        return PlainEvents(names, tee, shows_usage=exchange.wants_usage)
    return TranslatedEvents(names, tee, translation)


def _names(exchange: CompletionRequest) -> AnswerNames:
    return AnswerNames(
        identity=exchange.id,
        model=exchange.version_name,
        hides_prompt=exchange.choice.target.retrieval is not None,
    )
