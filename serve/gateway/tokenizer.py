"""The routes that count tokens: vLLM's `/tokenize` and `/detokenize`, and Anthropic's `count_tokens`.

An engine that has the version counts. Nothing is recorded, because no model answers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import Request, Response

from core.errors import EngineError
from core.http import read_json
from core.route_list import RouteList
from serve.engines.pool import EnginePool, WholeAnswer
from serve.gateway.request import check_is_object, choose_version, dump_body
from serve.gateway.request_fields import without_template
from serve.messages.request import to_prompt
from serve.retrieval.retriever import rewrite_prompt
from serve.routing.subscriber import RouteSubscriber
from serve.routing.table import RoutingDecision

Body = dict[str, Any]

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
    """Asks an engine that has the version.

    `limit` gives the largest body in bytes, which a reload may change. `others` are engines by the name of a model for
    embeddings or ranks.
    """

    def __init__(
        self,
        *,
        tables: RouteSubscriber,
        upstream: EnginePool,
        limit: Callable[[], int],
        others: Mapping[str, Sequence[str]],
    ) -> None:
        self._tables = tables
        self._upstream = upstream
        self._limit = limit
        self._others = others

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

    async def pass_on(self, path: str, fields: tuple[str, ...], request: Request) -> WholeAnswer:
        """The answer to a request of vLLM's own route. Raises InputError, NotFound, Forbidden or EngineError."""
        body = await self.read(request)
        passed = without_template({name: body[name] for name in fields if name in body})
        model = body.get("model")
        if isinstance(model, str) and model in self._others:
            request.state.admission.require_model(model)
            return await self._ask(path, self._others[model], passed | {"model": model})
        return await self.ask(path, self.choose(request, body), passed)

    async def ask(self, path: str, choice: RoutingDecision, body: Body) -> WholeAnswer:
        """An engine's answer. Raises EngineDown or EngineSlow."""
        name = choice.target.engine_name
        return await self._ask(path, self._tables.table.holders(name), body | {"model": name})

    async def _ask(self, path: str, engines: Sequence[str], body: Body) -> WholeAnswer:
        return await self._upstream.ask(engines, path, dump_body(body), {})


def create_router(tokenizer: Tokenizer) -> RouteList:
    """The routes, for keys that may ask a model."""
    router = RouteList()

    @router.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        return _as_it_came(await tokenizer.pass_on("/tokenize", COUNTED, request))

    @router.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        return _as_it_came(await tokenizer.pass_on("/detokenize", TEXT_OF, request))

    @router.post("/v1/messages/count_tokens")
    async def count(request: Request) -> Response:
        body = await tokenizer.read(request)
        chat = to_prompt(body)
        choice = tokenizer.choose(request, chat)
        chat = tokenizer.rewritten(choice, chat)
        counted = {name: chat[name] for name in COUNTED if name in chat}
        answer = await tokenizer.ask("/tokenize", choice, counted)
        if answer.status != 200:
            return _as_it_came(answer)
        return Response(orjson.dumps({"input_tokens": _count(answer.content)}), media_type="application/json")

    return router


def _as_it_came(answer: WholeAnswer) -> Response:
    return Response(answer.content, answer.status, answer.headers, "application/json")


def _count(content: bytes) -> int:
    try:
        return int(orjson.loads(content)["count"])
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError("The engine's answer cannot be read.", hint="Try again; see the engine's log.") from error
