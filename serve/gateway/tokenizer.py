"""The routes that count tokens: vLLM's `/tokenize` and `/detokenize`, and Anthropic's `count_tokens`.

An engine that has the version counts. Nothing is recorded, because no model answers.
"""

from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from core.errors import EngineDown, EngineError, EngineSlow
from core.http import read_json
from serve.engines.http_response import ConnectionBroken
from serve.engines.pool import EnginePool
from serve.gateway.request import check_is_object, choose_version, dump_body
from serve.messages.request import to_prompt
from serve.retrieval.retriever import rewrite_prompt
from serve.routing.subscriber import RouteSubscriber
from serve.routing.table import RoutingDecision

Body = dict[str, Any]

LARGEST_ANSWER = 16 * 1024 * 1024
COUNTED = (
    "prompt",
    "messages",
    "tools",
    "add_special_tokens",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
    "return_token_strs",
)
TEXT_OF = ("tokens",)


class Tokenizer:
    """Asks an engine that has the version. `limit` gives the largest body in bytes, which a reload may change."""

    def __init__(self, *, tables: RouteSubscriber, upstream: EnginePool, limit: Callable[[], int]) -> None:
        self._tables = tables
        self._upstream = upstream
        self._limit = limit

    async def read(self, request: Request) -> Body:
        """The body of a request. Raises InputError."""
        return check_is_object(await read_json(request, self._limit()))

    def choose(self, request: Request, body: Body) -> RoutingDecision:
        """The version that the request would reach. Raises InputError, NotFound or Forbidden."""
        choice, _, _ = choose_version(body, self._tables.table, request.state.admission)
        return choice

    def rewritten(self, choice: RoutingDecision, chat: Body) -> Body:
        """The request as the version's engine gets it, with what a retrieval puts before the question."""
        retrieval = choice.target.retrieval
        return chat | rewrite_prompt(self._tables.library.retriever(retrieval), "chat", chat) if retrieval else chat

    async def ask(self, path: str, choice: RoutingDecision, body: Body) -> tuple[int, bytes]:
        """(status, body) of an engine's answer. Raises EngineDown or EngineSlow."""
        content = dump_body(body | {"model": choice.target.engine_name})
        engines = self._tables.table.holders(choice.target.engine_name)
        try:
            async with self._upstream.post(engines, path, content, {}) as answer:
                return answer.status, await answer.read(LARGEST_ANSWER)
        except ConnectionBroken as error:
            raise EngineDown("The engine broke off while it answered.", hint="Try again.") from error
        except TimeoutError as error:
            raise EngineSlow("The engine took too long for its answer.", hint="Try again.") from error


def create_router(tokenizer: Tokenizer) -> APIRouter:
    """The routes, for keys that may ask a model."""
    router = APIRouter()

    async def pass_on(path: str, fields: tuple[str, ...], request: Request) -> Response:
        body = await tokenizer.read(request)
        choice = tokenizer.choose(request, body)
        passed = {name: body[name] for name in fields if name in body}
        status, content = await tokenizer.ask(path, choice, passed)
        return Response(content, status, media_type="application/json")

    @router.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        return await pass_on("/tokenize", COUNTED, request)

    @router.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        return await pass_on("/detokenize", TEXT_OF, request)

    @router.post("/v1/messages/count_tokens")
    async def count(request: Request) -> Response:
        body = await tokenizer.read(request)
        chat = to_prompt(body)
        choice = tokenizer.choose(request, chat)
        chat = tokenizer.rewritten(choice, chat)
        counted = {name: chat[name] for name in COUNTED if name in chat}
        status, content = await tokenizer.ask("/tokenize", choice, counted)
        if status != 200:
            return Response(content, status, media_type="application/json")
        return Response(orjson.dumps({"input_tokens": _count(content)}), media_type="application/json")

    return router


def _count(content: bytes) -> int:
    try:
        return int(orjson.loads(content)["count"])
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError("The engine's answer cannot be read.", hint="Try again; see the engine's log.") from error
