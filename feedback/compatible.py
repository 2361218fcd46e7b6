"""Feedback in the shapes of other tools: TensorZero's feedback, Langfuse's scores and Open WebUI's ratings.

Each route answers and refuses in its tool's shape. The feedback itself is checked and kept as `POST /v1/feedback` does.
"""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from fastapi import Request, Response
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from core.api_keys import Scope
from core.clock import Clock
from core.errors import LoraLoopError
from core.http import parse_json_with_any_text, read_json, retry_headers
from core.records import Feedback
from core.route_list import RouteList
from core.spool import SpoolWriter
from feedback.formats import langfuse, open_webui, tensorzero
from feedback.formats.metrics import Metrics
from feedback.routes import MAX_BODY_BYTES, admission_of, keep, own_id
from feedback.schema import parse

# These tools answer a wrong body so.
BAD_REQUEST = 400
Shape = Callable[[LoraLoopError], dict[str, Any]]
SHAPES: dict[str, Shape] = {
    "/feedback": lambda error: {"error": str(error)},
    "/api/public/scores": lambda error: {"message": str(error), "error": error.code},
    "/api/v1/evaluations/feedback": lambda error: {"detail": str(error)},
}


class ShapedRoute(APIRoute):
    """A route whose errors have the shape of the tool that it is like."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, and around it what shapes its errors."""
        handle = super().get_route_handler()
        shape = next(shape for path, shape in SHAPES.items() if self.path.startswith(path))

        async def shaped(request: Request) -> Response:
            try:
                return await handle(request)
            except LoraLoopError as error:
                status = BAD_REQUEST if error.status == 422 else error.status
                return JSONResponse(shape(error), status, retry_headers(error))

        return shaped


def create_router(
    *,
    spool: SpoolWriter,
    clock: Clock,
    acknowledged: Callable[[Feedback], None],
    metrics: Callable[[], Metrics],
    givers: Depends,
    basic_givers: Depends,
) -> RouteList:
    """The routes. `metrics` are those of the settings now. `basic_givers` also takes a key as HTTP Basic's password."""
    router = RouteList(route_class=ShapedRoute)

    async def give(request: Request, signal: dict[str, Any], *, is_stored: bool = True) -> str:
        """Keeps one feedback and returns its id in the app's words."""
        giver = admission_of(request)
        signal = {name: value for name, value in signal.items() if value is not None}
        signal.setdefault("id", str(uuid4()))
        records = parse(signal, clock, giver.key_id, reviewer=giver.opens(Scope.OPS_WRITE))
        if is_stored:
            await keep(spool, records, acknowledged)
        return own_id(giver.key_id, records[0].id)

    @router.post("/feedback", dependencies=[givers])
    async def give_metric(request: Request) -> dict[str, str]:
        body = await read_json(request, MAX_BODY_BYTES, parse_json_with_any_text)
        signal = tensorzero.live(body, metrics())
        return {"feedback_id": await give(request, signal, is_stored=not body.get("dryrun"))}

    @router.post("/api/public/scores", dependencies=[basic_givers])
    async def give_score(request: Request) -> dict[str, str]:
        body = await read_json(request, MAX_BODY_BYTES, parse_json_with_any_text)
        return {"id": await give(request, langfuse.live(body, metrics()))}

    @router.post("/api/v1/evaluations/feedback", dependencies=[givers])
    async def give_rating(request: Request) -> dict[str, Any]:
        return await rate(request, {})

    @router.post("/api/v1/evaluations/feedback/{feedback_id}", dependencies=[givers])
    async def change_rating(feedback_id: str, request: Request) -> dict[str, Any]:
        return await rate(request, {"id": feedback_id})

    async def rate(request: Request, identity: dict[str, str]) -> dict[str, Any]:
        body = await read_json(request, MAX_BODY_BYTES, parse_json_with_any_text)
        found = await give(request, open_webui.live(body) | identity)
        told = {name: body.get(name) for name in ("type", "data", "meta")}
        now = int(clock().timestamp())
        user = body.get("user_id") or ""
        return {"id": found, "user_id": user, "version": 0, "created_at": now, "updated_at": now} | told

    return router
