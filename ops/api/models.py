"""The ops API of control: what the command line and other programs read and do.

Handlers are thin: they parse, call a view or an action, and render.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from core.acts import Act, act, note, only_numbers
from core.api_key_store import ApiKeyStore
from core.db import routes as routes_table
from core.http import JsonBody
from core.records import Verdict
from core.route_list import RouteList
from feedback import quarantine
from ops import reviewer_report, version_page, views
from ops.actions import Actions, By
from ops.blind_labels import reader_of
from ops.control import Control
from ops.model_changes import ModelChange
from ops.model_limits import shows_own_models

Limit = Annotated[int, Query(ge=1, le=10_000)]
Moment = Annotated[datetime | None, Query()]


class Said(BaseModel):
    """Why something is done, and on whose behalf, as the caller says. Who does it is the key: see `signed`."""

    model_config = ConfigDict(extra="forbid")
    actor: str = Field("", max_length=128)
    comment: str = Field("", max_length=2000)

    @property
    def by(self) -> By:
        """Who, and why, once `signed`."""
        return By(self.actor, self.comment)


class RollBack(Said):
    """Where to roll back to; none: to the version that served before, or only the canary ends while there is one.

    Unless `keep_data`, votes against the version that leaves go to quarantine if they were a burst or contradict
    others.
    """

    to: int | None = Field(None, ge=0)
    keep_data: bool = False


class StopCanary(Said):
    """The canary to stop; without a version, the one that is running. The comment goes into the ledger.

    Unless `keep_data`, votes against it go to quarantine if they were a burst or contradict others.
    """

    version: int | None = Field(None, ge=0)
    keep_data: bool = False


class ChangeCanary(Said):
    """The canary to pause or resume; without a version, the one that is running. The comment goes into the ledger."""

    version: int | None = Field(None, ge=0)


class SetShare(ChangeCanary):
    """The share of users that the canary shall serve. Its count of users begins from zero."""

    share: float = Field(gt=0, le=0.5)


class Promote(Said):
    """The version to put in service."""

    version: int = Field(ge=0)


class Reject(Said):
    """Who rejects a candidate, and why. The comment is required."""

    comment: str = Field(min_length=1, max_length=2000)
    keep_data: bool = False


class Measure(Said):
    """The version to ask suites of, none: the champion; and which suites, none: those of the settings."""

    version: int | None = Field(None, ge=0)
    suites: list[str] = Field([], max_length=64)


Spoken = TypeVar("Spoken", bound=Said)


def signed(said: Spoken, request: Request) -> Spoken:
    """What was said with the key that was verified as its actor; the comment holds the name that the caller gave."""
    comment = " ".join(part for part in (f"(on behalf of {said.actor})" if said.actor else "", said.comment) if part)
    keyring: ApiKeyStore = request.app.state.control.keyring
    return said.model_copy(update={"actor": keyring.actor_of(request.state.key_id), "comment": comment})


class SignedBody(JsonBody[Spoken]):
    """The body of a request, signed."""

    async def __call__(self, request: Request) -> Spoken:
        """Return the body. Raises as a JsonBody does."""
        return signed(await super().__call__(request), request)


def signed_body(model: type[Spoken]) -> Any:
    """Return the dependency for a body, signed."""
    return Depends(SignedBody(model))


SaidBody = Annotated[Said, signed_body(Said)]
RollBackBody = Annotated[RollBack, signed_body(RollBack)]
StopCanaryBody = Annotated[StopCanary, signed_body(StopCanary)]
ChangeCanaryBody = Annotated[ChangeCanary, signed_body(ChangeCanary)]
SetShareBody = Annotated[SetShare, signed_body(SetShare)]
PromoteBody = Annotated[Promote, signed_body(Promote)]
RejectBody = Annotated[Reject, signed_body(Reject)]
MeasureBody = Annotated[Measure, signed_body(Measure)]


def in_utc(moment: datetime | None) -> datetime | None:
    """A time; UTC where it does not name a zone."""
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def create_reading_router(control: Control) -> RouteList:
    """Routes under /api that change nothing."""
    router = RouteList(prefix="/api")
    for add in (_read_models, _read_decisions, _read_feedback, _read_ledger):
        add(router, control)
    return router


def _read_models(router: RouteList, control: Control) -> None:
    store = control.store

    @router.get("/models")
    @only_numbers
    @shows_own_models
    def models(request: Request, model: str | None = None) -> list[views.View]:
        """Every model that the key may use, or one, with what serves it."""
        names, own = control.settings.models, request.state.admission.models
        wanted = names if model is None else [model]
        return views.models(control, [name for name in wanted if name in names and (own is None or name in own)])

    @router.get("/models/{model}/versions")
    @only_numbers
    def versions(model: str) -> list[views.View]:
        """A model's versions, each with the votes that it learnt from which are revoked or in quarantine now."""
        control.promotion.route(model)
        return version_page.versions(store, model)

    @router.get("/models/{model}/versions/{version}")
    @only_numbers
    def version(model: str, version: int) -> views.View:
        """One version, with the first 1,000 of these votes, and the erasures of users that it learnt from."""
        control.promotion.route(model)
        return version_page.version(store, model, version)

    @router.get("/models/{model}/versions/{version}/suspects")
    @only_numbers
    def suspects(model: str, version: int) -> views.View:
        """Whose votes a rollback or rejection of a version would hold, and why. `held`: how many voters and keys."""
        control.promotion.version(model, version)
        found = quarantine.suspects(store, model, version)
        return {"held": len(found.predicates), "reason": found.reason}

    @router.get("/models/{model}/routes")
    @only_numbers
    def routes(model: str) -> list[views.View]:
        """What served a model when, newest first."""
        control.promotion.route(model)
        return routes_table.history(store, model=model)


def _read_decisions(router: RouteList, control: Control) -> None:
    store = control.store

    @router.get("/promotions")
    @only_numbers
    def promotions(
        model: str | None = None,
        verdict: Verdict | None = None,
        since: Moment = None,
        until: Moment = None,
        limit: Limit = 50,
    ) -> list[views.View]:
        """Decisions of the ledger, newest first; `since` and `until` are days or times, UTC where they say no zone."""
        return views.decisions(store, views.Filter(model, verdict, in_utc(since), in_utc(until)), limit)

    @router.get("/promotions/{identity}")
    @only_numbers
    def promotion(identity: str) -> views.View:
        """One decision with all that the ledger holds of it."""
        return views.decision(store, identity)


def _read_feedback(router: RouteList, control: Control) -> None:
    store = control.store

    @router.get("/feedback")
    @only_numbers
    def feedback(
        model: str | None = None, key: str | None = None, by_key: bool = False, by_user: bool = False
    ) -> list[views.View]:
        """Counts of feedback by model and type, of one key, by key, or by voter: the 1,000 with most votes."""
        return views.feedback(store, model, key, by_key=by_key, by_user=by_user)

    @router.get("/feedback/waiting")
    @only_numbers
    def waiting() -> views.View:
        """Feedback without its interaction, by key and type, and requests to take back feedback that is not there."""
        return views.waiting_feedback(store)

    @router.get("/feedback/agreement")
    @only_numbers
    def agreement(request: Request, model: str) -> views.View:
        """How far reviewers of a model agree, per pair and in all, and the answers on which they disagree.

        Answers that the caller can still label are left out.
        """
        return reviewer_report.view(control, model, reader_of(request))


def _read_ledger(router: RouteList, control: Control) -> None:
    @router.get("/ledger")
    @only_numbers
    def ledger(head: str | None = None) -> views.View:
        """Whether the ledger is whole, and a head that was once sent out is in it."""
        return views.ledger(control.store, head)


def create_acting_router(control: Control) -> RouteList:
    """Routes under /api that change what serves."""
    router = RouteList(prefix="/api")
    actions = Actions(control)

    @router.post("/models/{model}/retrain", status_code=202)
    @act(Act.RUNS_START)
    def retrain(request: Request, model: str, said: SaidBody) -> dict[str, Any]:
        """Queue a run."""
        run_id = actions.retrain(model, said.by)
        note(request, thing=run_id)
        return {"model": model, "queued": True, "run_id": run_id}

    @router.post("/models/{model}/evaluate", status_code=202)
    @act(Act.RUNS_EVALUATE)
    def evaluate(request: Request, model: str, said: MeasureBody) -> dict[str, Any]:
        """Run suites on a version, base and champion, as a run. It decides nothing."""
        wanted = actions.evaluate(model, said.version, said.suites, said.by)
        note(request, thing=wanted.run.id)
        return {"model": model, "version": wanted.version.version, "run_id": wanted.run.id}

    @router.post("/models/{model}/rollback")
    @act(Act.MODELS_ROLLBACK)
    def roll_back(model: str, said: RollBackBody) -> ModelChange:
        """Put an earlier version back, by default the one before; votes against the other may be quarantined."""
        return actions.roll_back(model, said.to, said.by, keep_data=said.keep_data)

    _add_canary_changes(router, actions)
    _add_freezes(router, actions)

    @router.post("/models/{model}/promote")
    @act(Act.MODELS_PROMOTE)
    def promote(model: str, said: PromoteBody) -> ModelChange:
        """Put a version in service past the gate."""
        return actions.promote(model, said.version, said.by)

    @router.post("/promotions/{identity}/approve")
    @act(Act.PROMOTIONS_APPROVE)
    def approve(identity: str, said: SaidBody) -> ModelChange:
        """Let the candidate that waits go on."""
        return actions.approve(identity, said.by)

    @router.post("/promotions/{identity}/reject")
    @act(Act.PROMOTIONS_REJECT)
    def reject(identity: str, said: RejectBody) -> ModelChange:
        """Reject the candidate that waits for approval."""
        return actions.reject(identity, said.by, keep_data=said.keep_data)

    return router


def _add_canary_changes(router: RouteList, actions: Actions) -> None:
    @router.post("/models/{model}/canary/stop")
    @act(Act.CANARY_STOP)
    def stop_canary(model: str, said: StopCanaryBody) -> ModelChange:
        """Stop the canary of a model. The champion serves everyone again."""
        return actions.stop_canary(model, said.version, said.by, keep_data=said.keep_data)

    @router.post("/models/{model}/canary/pause")
    @act(Act.CANARY_PAUSE)
    def pause_canary(model: str, said: ChangeCanaryBody) -> ModelChange:
        """Have the champion serve everyone until the canary is resumed."""
        return actions.pause_canary(model, said.version, said.by)

    @router.post("/models/{model}/canary/resume")
    @act(Act.CANARY_RESUME)
    def resume_canary(model: str, said: ChangeCanaryBody) -> ModelChange:
        """Serve a paused canary again. Its count of users begins from zero."""
        return actions.resume_canary(model, said.version, said.by)

    @router.post("/models/{model}/canary/share")
    @act(Act.CANARY_SHARE)
    def set_canary_share(model: str, said: SetShareBody) -> ModelChange:
        """Serve a canary to another share of users. Its count of users begins from zero."""
        return actions.set_canary_share(model, said.version, said.share, said.by)


def _add_freezes(router: RouteList, actions: Actions) -> None:
    @router.post("/models/{model}/freeze")
    @act(Act.MODELS_FREEZE)
    def freeze(model: str, said: SaidBody) -> ModelChange:
        """Let no candidate of a model get users or become champion automatically."""
        return actions.freeze(model, said.by)

    @router.post("/models/{model}/unfreeze")
    @act(Act.MODELS_UNFREEZE)
    def unfreeze(model: str, said: SaidBody) -> ModelChange:
        """End the freeze of a model."""
        return actions.unfreeze(model, said.by)
