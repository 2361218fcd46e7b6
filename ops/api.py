"""The ops API of control: what the command line and other programs read and do.

Handlers are thin: they parse, call a view or promotion, and render.
"""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from core.errors import NotReady, UnknownModel
from core.http import json_body
from core.records import Verdict
from core.store import Transaction
from eval.promotion import Why
from ops import views
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
        """Every model with what serves it."""
        return views.models(control)

    @router.get("/models/{model}/versions")
    def versions(model: str) -> list[views.View]:
        """A model's versions."""
        control.promotion.route(model)
        return store.rows("versions_of", model=model)

    @router.get("/models/{model}/routes")
    def routes(model: str) -> list[views.View]:
        """What served a model when, newest first."""
        control.promotion.route(model)
        return store.rows("routes_of", model=model)

    @router.get("/promotions")
    def promotions(model: str | None = None, limit: Limit = 50) -> list[views.View]:
        """Decisions of the ledger, newest first."""
        return views.decisions(store, model, limit)

    @router.get("/promotions/{identity}")
    def promotion(identity: str) -> views.View:
        """One decision with all that the ledger holds of it."""
        return views.decision(store, identity)

    @router.get("/runs")
    def runs(model: str | None = None, limit: Limit = 50) -> list[views.View]:
        """Runs with their progress, newest first."""
        return views.runs(store, model, limit)

    @router.get("/runs/{identity}")
    def run(identity: str) -> views.View:
        """One run with every step."""
        return views.run(store, identity)

    @router.get("/feedback")
    def feedback(model: str | None = None) -> list[views.View]:
        """Counts of feedback by model and type."""
        return views.feedback(store, model)

    @router.get("/ledger")
    def ledger(head: str | None = None) -> views.View:
        """Whether the ledger is whole, and a head that was once sent out is in it."""
        return views.ledger(store, head)

    return router


def create_acting_router(control: Control) -> APIRouter:
    """Routes under /api that change what serves."""
    router = APIRouter(prefix="/api")
    promotion = control.promotion

    @router.post("/models/{model}/retrain", status_code=202)
    def retrain(model: str, said: SaidBody) -> dict[str, Any]:
        """Queue a run."""
        promotion.route(model)
        if model not in control.settings.models:
            raise UnknownModel(f"{model!r} is not in the settings.")
        if not control.scheduler.start_run(model, "asked for", said.actor):
            raise NotReady(f"A run of {model} is under way.", hint=f"See: loraloop runs {model}")
        return {"model": model, "queued": True}

    @router.post("/models/{model}/rollback")
    async def roll_back(model: str, said: RollBackBody) -> dict[str, Any]:
        """Put an earlier version back, by default the one before."""
        why = _why(f"Rolled back by {said.actor}.", said)
        return asdict(await asyncio.to_thread(promotion.roll_back, model, said.to, why))

    @router.post("/models/{model}/promote")
    async def promote(model: str, said: PromoteBody) -> dict[str, Any]:
        """Put a version in service past the gate."""
        why = _why(f"Put in service by {said.actor}, past the gate.", said)
        return asdict(await asyncio.to_thread(promotion.promote, model, said.version, why))

    @router.post("/promotions/{identity}/approve")
    async def approve(identity: str, said: SaidBody) -> dict[str, Any]:
        """Let the candidate that waits take over."""
        run, wanted = _awaiting(control, identity)
        why = _why(wanted["reason"], said, wanted)
        closing = _closing(control, run["id"], why.reason)
        return asdict(await asyncio.to_thread(promotion.promote, run["model"], run["candidate"], why, closing))

    @router.post("/promotions/{identity}/reject")
    async def reject(identity: str, said: SaidBody) -> dict[str, Any]:
        """Turn the candidate that waits away."""
        run, wanted = _awaiting(control, identity)
        why = _why(f"Rejected by {said.actor}.", said, wanted)
        closing = _closing(control, run["id"], why.reason)
        model, candidate = run["model"], run["candidate"]
        if promotion.route(model).canary == candidate:
            await asyncio.to_thread(promotion.end_canary, model, candidate, Verdict.REJECTED, why, closing)
        else:
            promotion.note(model, candidate, Verdict.REJECTED, why, closing)
        return {"model": model, "version": candidate, "verdict": str(Verdict.REJECTED)}

    return router


def _why(reason: str, said: Said, wanted: views.View | None = None) -> Why:
    kept = wanted or {"run_id": None, "evidence": {}, "lineage": {}, "live": {}}
    return Why(
        reason, "person", said.actor, said.comment, kept["run_id"], kept["evidence"], kept["lineage"], kept["live"]
    )


def _awaiting(control: Control, identity: str) -> tuple[views.View, views.View]:
    wanted = views.decision(control.store, identity)
    run = control.store.row("run_awaiting", id=wanted["run_id"])
    if wanted["verdict"] != Verdict.AWAITING_APPROVAL or run is None:
        raise NotReady(f"Decision {identity} waits for nobody.", hint="See: loraloop promotions")
    return run, wanted


def _closing(control: Control, run_id: str, reason: str) -> Any:
    def close(transaction: Transaction) -> None:
        transaction.run("run_state", id=run_id, state="finished", time=control.clock(), reason=reason)

    return close
