"""The small OpenAI routes beside completions: which models there are.

It owns their shapes; it must not know who serves a model nor why.
"""

from typing import Any

from fastapi import APIRouter

from core.errors import UnknownModel
from serve.routing import ModelRoute
from serve.tables import TableKeeper


def create_router(tables: TableKeeper) -> APIRouter:
    """The reading routes under /v1 for apps."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        listed = [_entry(name, route) for name, route in sorted(tables.table.models.items())]
        return {"object": "list", "data": listed}

    @router.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        route = tables.table.models.get(name)
        if route is None:
            raise UnknownModel(f"The model {name!r} does not exist.", hint="See GET /v1/models.")
        return _entry(name, route)

    return router


def _entry(name: str, route: ModelRoute) -> dict[str, Any]:
    """A public model in OpenAI's shape; `version` serves it, `root` is what engines call that."""
    champion = route.champion
    return {"id": name, "object": "model", "created": 0, "owned_by": "loraloop", "version": champion.version,
            "root": champion.engine_name, "parent": None if champion.version == 0 else f"{name}@0"}  # fmt: skip
