"""The ops API of control: what the command line and other programs read and do.

Handlers are thin: they parse, call a view or an action, and render.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from core.http import json_body
from ops import views
from ops.actions import Actions, By
from ops.control import Control

Limit = Annotated[int, Query(ge=1, le=10_000)]


class Said(BaseModel):
    """Who does something, and why; both go into the ledger."""

    model_config = ConfigDict(extra="forbid")
    actor: str = Field("api", max_length=128)
    comment: str = Field("", max_length=2000)


class RollBack(Said):
    """Where to roll back to; none: to the version that served before."""

    to: int | None = Field(None, ge=0)


class Promote(Said):
    """The version to put in service."""

    version: int = Field(ge=0)


SaidBody = Annotated[Said, Depends(json_body(Said))]
RollBackBody = Annotated[RollBack, Depends(json_body(RollBack))]
PromoteBody = Annotated[Promote, Depends(json_body(Promote))]


def create_reading_router(control: Control) -> APIRouter:
    """Routes under /api that change nothing."""
    router = APIRouter(prefix="/api")
    store = control.store

    @router.get("/models")
    def models() -> list[views.View]:
        return views.models(control)

    @router.get("/models/{model}/versions")
    def versions(model: str) -> list[views.View]:
        control.promotion.route(model)
        return store.rows("versions_of", model=model)

    @router.get("/models/{model}/routes")
    def routes(model: str) -> list[views.View]:
        control.promotion.route(model)
        return store.rows("routes_of", model=model)

    @router.get("/promotions")
    def promotions(model: str | None = None, limit: Limit = 50) -> list[views.View]:
        return views.decisions(store, views.Filter(model=model), limit)

    @router.get("/promotions/{identity}")
    def promotion(identity: str) -> views.View:
        return views.decision(store, identity)

    @router.get("/runs")
    def runs(model: str | None = None, limit: Limit = 50) -> list[views.View]:
        return views.runs(store, model, limit)

    @router.get("/runs/{identity}")
    def run(identity: str) -> views.View:
        return views.run(store, identity)

    @router.get("/feedback")
    def feedback(model: str | None = None) -> list[views.View]:
        return views.feedback(store, model)

    @router.get("/ledger")
    def ledger() -> views.View:
        return views.ledger(store)

    return router


def create_acting_router(control: Control) -> APIRouter:
    """Routes under /api that change what serves."""
    router = APIRouter(prefix="/api")
    actions = Actions(control)

    @router.post("/models/{model}/retrain", status_code=202)
    def retrain(model: str, said: SaidBody, request: Request) -> dict[str, Any]:
        actions.retrain(model, by(request, said))
        return {"model": model, "queued": True}

    @router.post("/models/{model}/rollback")
    def roll_back(model: str, said: RollBackBody, request: Request) -> dict[str, Any]:
        return actions.roll_back(model, said.to, by(request, said))

    @router.post("/models/{model}/promote")
    def promote(model: str, said: PromoteBody, request: Request) -> dict[str, Any]:
        return actions.promote(model, said.version, by(request, said))

    @router.post("/promotions/{identity}/approve")
    def approve(identity: str, said: SaidBody, request: Request) -> dict[str, Any]:
        return actions.approve(identity, by(request, said))

    @router.post("/promotions/{identity}/reject")
    def reject(identity: str, said: SaidBody, request: Request) -> dict[str, Any]:
        return actions.reject(identity, by(request, said))

    return router


def by(request: Request, said: Said) -> By:
    """Who asks: what they call themselves, and the key that was verified."""
    return By(f"{said.actor} (key {request.state.key_id})", said.comment)
