"""Pass requests for embeddings and ranks to engines of another model, and their answers back.

Nothing is recorded, because no version answers and no user sees the answer: see docs/decisions/0057.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive

from core.clock import unguessable_id
from core.errors import EngineError, InputError, NotFound, NotLoaded
from core.http import read_json
from core.route_list import RouteList
from core.settings import PassThroughSettings
from serve.engines.pool import EnginePool, WholeAnswer
from serve.gateway.authentication import RequestPermit
from serve.gateway.http_rules import MODEL_OF_PATH
from serve.gateway.metrics import Metrics
from serve.gateway.not_served import NotServed
from serve.gateway.outcome import CLIENT_LEFT, Outcome, of_error, of_status
from serve.gateway.purposes import Purpose
from serve.gateway.request import BYTES_A_TOKEN, check_is_object, dump_body
from serve.gateway.request_fields import unknown_names, without_template

Body = dict[str, Any]
Found = TypeVar("Found")

# vLLM puts the count at the beginning of ranks and at the end of embeddings. What is between may have megabytes.
TOKENS = re.compile(rb'"total_tokens"\s*:\s*(\d{1,12})')
SEARCHED_BYTES = 1024
# Types of an engine's answers: the second is of `encoding_format: bytes`.
KINDS = ("application/json", "application/octet-stream")


class PassThrough:
    """Answers the requests of one purpose. Without `engines` it refuses them.

    `limit` gives the largest body in bytes, which a reload may change.
    """

    def __init__(
        self,
        purpose: Purpose,
        engines: PassThroughSettings | None,
        *,
        upstream: EnginePool,
        metrics: Metrics,
        limit: Callable[[], int],
    ) -> None:
        self.purpose = purpose
        self._engines = engines
        self._upstream = upstream
        self._metrics = metrics
        self._limit = limit

    async def answer(self, request: Request) -> Response:
        """One request. Raises NotServed, InputError, NotFound, Forbidden, LimitReached or EngineError."""
        engines = self._engines
        if engines is None:
            name, setting = self.purpose.name, self.purpose.setting
            raise NotServed(
                f"LoraLoop's own engines serve one model that generates text, and no engine for {name} is set.",
                hint=f"Set {setting}.urls and {setting}.model to an engine with a model for this.",
            )
        permit: RequestPermit = request.state.admission
        body = check_is_object(await read_json(request, self._limit()))
        # The path comes first, as for completions: clients of Azure name a deployment there and any model in the body.
        model = request.scope.get(MODEL_OF_PATH) or body.get("model", engines.model)
        self._check_model(model, engines, permit)
        content = self._content(body, engines)
        guessed = len(content) // BYTES_A_TOKEN
        permit.reserve(guessed)
        identity, started, outcome, counted = unguessable_id(), time.perf_counter(), CLIENT_LEFT, None
        try:
            asking = self._ask(engines, request.scope["path"], content, identity)
            answer = await until_gone(asking, request.receive)
            if answer is None:
                return Response(status_code=outcome.status)  # nobody gets it
            check_kind(answer)
            outcome, counted = of_status(answer.status, ""), count_tokens(answer.content)
            if counted is None and outcome.cause == "answered":
                counted = guessed  # vLLM counts in no answer of `encoding_format: bytes`, and it is not free
        except Exception as error:
            outcome = of_error(error)
            raise
        finally:
            tokens = outcome.tokens(counted, guessed)
            permit.release(tokens)
            self._count(outcome, tokens, time.perf_counter() - started)
        headers = {"X-Request-Id": identity, **permit.headers, **answer.headers}
        if ignored := unknown_names(self.purpose.fields, body):
            headers["X-LoraLoop-Ignored"] = ", ".join(ignored)
        return Response(answer.content, answer.status, headers, answer.media_type or "application/json")

    def _check_model(self, model: Any, engines: PassThroughSettings, permit: RequestPermit) -> None:
        """A request that names no model means the only one that there is."""
        if not isinstance(model, str):
            raise InputError("model: name the model as a string.", field="model", hint="See GET /v1/models.")
        if model != engines.model:
            where = f"for {self.purpose.name}"
            raise NotFound("model", model, where=where, hint=f"The model for {self.purpose.name} is {engines.model}.")
        permit.require_model(model)

    def _content(self, body: Body, engines: PassThroughSettings) -> bytes:
        """The body for the engine."""
        passed = {name: value for name, value in body.items() if name in self.purpose.fields}
        return dump_body(without_template(passed | {"model": engines.model}))

    async def _ask(self, engines: PassThroughSettings, path: str, content: bytes, identity: str) -> WholeAnswer:
        try:
            return await self._upstream.ask(engines.engines, path, content, {"X-Request-Id": identity})
        except NotLoaded as error:
            raise EngineError(
                f"No engine of {self.purpose.setting} has the model {engines.model} at {path}.",
                hint=f"Set {self.purpose.setting}.model to a name of the engine's /v1/models, and see its task.",
            ) from error

    def _count(self, outcome: Outcome, tokens: int, seconds: float) -> None:
        name = self.purpose.name
        self._metrics.passed.labels(name, str(outcome.status)).inc()
        self._metrics.passed_tokens.labels(name).inc(tokens)
        self._metrics.passed_seconds.labels(name).observe(seconds)


def create_router(*passing: PassThrough) -> RouteList:
    """The routes of all purposes, for keys that may ask a model."""
    router = RouteList()
    for each in passing:
        for path in each.purpose.paths:
            router.post(path, include_in_schema=False)(each.answer)
    return router


def check_kind(answer: WholeAnswer) -> None:
    """Raises EngineError for a success that is no answer of an engine, such as the page of a proxy before it."""
    kind = (answer.media_type or KINDS[0]).partition(";")[0].strip().lower()
    if answer.status < 400 and (kind not in KINDS or not answer.content):
        raise EngineError(
            f"The engine's answer cannot be read: its status is {answer.status} and its type {kind[:64]!r}.",
            hint="See what answers at the engine's URL.",
        )


def count_tokens(answer: bytes) -> int | None:
    """The number of tokens that an engine's answer says it used; None if it says none.

    An answer with texts of the client has them in quotes, so that no text can pass for the count.
    """
    found = (*TOKENS.findall(answer[:SEARCHED_BYTES]), *TOKENS.findall(answer[-SEARCHED_BYTES:]))
    return max(map(int, found), default=None)


async def until_gone(work: Coroutine[Any, Any, Found], receive: Receive) -> Found | None:
    """The result of work, or None if the client leaves first: then the work is cancelled.

    The body of the request must have been read.
    """
    doing, leaving = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        leaving.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
