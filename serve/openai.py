"""The small OpenAI routes beside completions: which models there are, and the document of all routes.

It owns their shapes; it must not know who serves a model nor why.
"""

from typing import Any

from fastapi import APIRouter, Request

from core.errors import UnknownModel
from serve.routing import ModelRoute
from serve.tables import TableKeeper


def create_router(tables: TableKeeper) -> APIRouter:
    """The reading routes under /v1 for apps."""
    router = APIRouter()

    @router.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> dict[str, Any]:
        return request.app.openapi()

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        listed = [_entry(name, route) for name, route in sorted(tables.table.models.items())]
        return {"object": "list", "data": listed}

    @router.get("/v1/models/{model}")
    async def one(model: str) -> dict[str, Any]:
        route = tables.table.models.get(model)
        if route is None:
            raise UnknownModel(f"The model {model!r} does not exist.", hint="See GET /v1/models.")
        return _entry(model, route)

    return router


def _entry(name: str, route: ModelRoute) -> dict[str, Any]:
    """A public model in OpenAI's shape; `version` serves it, `root` is what engines call that."""
    champion = route.champion
    return {"id": name, "object": "model", "created": 0, "owned_by": "loraloop", "version": champion.version,
            "root": champion.engine_name, "parent": None if champion.version == 0 else f"{name}@0"}  # fmt: skip
