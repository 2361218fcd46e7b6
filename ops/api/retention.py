"""The API of retention: what would be deleted, delete it, and what was deleted."""

from typing import Annotated, Any

from fastapi import Request

from core.acts import Act, act, note, only_numbers
from core.route_list import RouteList
from ops.api.models import Limit, Said, signed_body
from ops.retention import Retention

SaidBody = Annotated[Said, signed_body(Said)]


def create_reading_router(retention: Retention) -> RouteList:
    """Routes under /api/retention that read."""
    router = RouteList(prefix="/api/retention")

    @router.get("")
    @only_numbers
    def show() -> dict[str, Any]:
        """What there is of each kind, and what would be deleted now."""
        return retention.show()

    @router.get("/runs")
    @only_numbers
    def newest(limit: Limit = 100) -> list[dict[str, Any]]:
        """Deletions, newest first."""
        return retention.newest(limit)

    @router.get("/runs/{identity}")
    @only_numbers
    def find(identity: str) -> dict[str, Any]:
        """One deletion with what it deleted."""
        return retention.find(identity)

    return router


def create_acting_router(retention: Retention) -> RouteList:
    """Routes under /api/retention that delete."""
    router = RouteList(prefix="/api/retention")

    @router.post("/runs", status_code=202)
    @act(Act.RETENTION_RUN)
    def begin(request: Request, said: SaidBody) -> dict[str, Any]:
        """Delete what is older than the settings. It goes on after the response, until the state is `done`."""
        begun = retention.begin(said.by.actor, said.by.comment)
        note(request, thing=begun["id"])
        return begun

    return router
