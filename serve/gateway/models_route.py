"""The small OpenAI routes next to completions: the list of models and the OpenAPI document."""

from collections.abc import Collection
from typing import Any

from fastapi import Request

from core.errors import NotFound
from core.route_list import RouteList
from serve.routing.subscriber import RouteSubscriber
from serve.routing.table import ModelRoute

Model = dict[str, Any]


def create_router(tables: RouteSubscriber, others: Collection[str] = ()) -> RouteList:
    """The reading routes under /v1 for apps. `others` are models for embeddings or ranks, which have no versions."""
    router = RouteList()

    def known() -> dict[str, Model]:
        own = {name: _entry(name, route) for name, route in tables.table.models.items()}
        return own | {name: _described(name) for name in others}

    @router.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> dict[str, Any]:
        return request.app.openapi()

    @router.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        allowed = request.state.admission.allows
        listed = [entry for name, entry in sorted(known().items()) if allowed(name)]
        names = [entry["id"] for entry in listed]
        # Anthropic's client reads a page, OpenAI's a list.
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return {"object": "list", "data": listed, "has_more": False, **ends}

    @router.get("/v1/models/{model:path}")  # names of other models may have slashes, such as BAAI/bge-m3
    async def one(model: str, request: Request) -> dict[str, Any]:
        if not model:
            return await models(request)
        found = known().get(model)
        # To a key that may not use it, a model is not there.
        if found is None or not request.state.admission.allows(model):
            raise NotFound("model", model, hint="See GET /v1/models.")
        return found

    return router


def _entry(name: str, route: ModelRoute) -> Model:
    """A public model; `version` serves it, `root` is what engines call that."""
    champion = route.champion
    return _described(name) | {
        "version": champion.version,
        "root": champion.engine_name,
        "parent": None if champion.version == 0 else f"{name}@0",
    }


def _described(name: str) -> Model:
    """A model as OpenAI's clients and Anthropic's read it."""
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "display_name": name,
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "owned_by": "loraloop",
    }
