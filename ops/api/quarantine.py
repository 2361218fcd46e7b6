"""The ops API of quarantine: list, preview, hold, release, reject."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field

from core.acts import Act, act, may_quote, note, only_numbers
from core.db.quarantines import Predicate
from core.route_list import RouteList
from ops import views
from ops.actions import Actions
from ops.api.models import Limit, Moment, Said, SaidBody, in_utc, signed_body
from ops.blind_labels import BlindLabels, reader_of
from ops.control import Control

Name = Annotated[str | None, Query(min_length=1, max_length=128)]
OneModel = Annotated[str | None, Query(min_length=1, max_length=64)]


class Hold(Said):
    """Whose votes to put in quarantine: those that fit each part given. Without a model, on every model."""

    model: str | None = Field(None, min_length=1, max_length=64)
    key: str | None = Field(None, min_length=1, max_length=128)
    user: str | None = Field(None, min_length=1, max_length=128)
    since: datetime | None = Field(None, alias="from")
    until: datetime | None = None


HoldBody = Annotated[Hold, signed_body(Hold)]


def create_reading_router(control: Control) -> RouteList:
    """Routes under /api/quarantine that change nothing."""
    router = RouteList(prefix="/api/quarantine")
    actions = Actions(control)

    @router.get("")
    @may_quote
    def quarantines(model: str | None = None) -> list[views.View]:
        """Quarantines with how many votes of how many users are in each."""
        return views.quarantines(control.store, model)

    @router.get("/preview")
    @only_numbers
    def preview(
        model: OneModel = None,
        key: Name = None,
        user: Name = None,
        since: Annotated[datetime | None, Query(alias="from")] = None,
        until: Moment = None,
    ) -> list[views.View]:
        """What holding these votes would hold on each model: votes, those not held already, voters."""
        return actions.preview_hold(model, Predicate(key, user, in_utc(since), in_utc(until)))

    @router.get("/{identity}")
    @act(Act.TEXTS_READ)
    def quarantine(request: Request, identity: str, limit: Limit = 1000) -> views.View:
        """One quarantine with its votes."""
        blind = BlindLabels.of(control.store, control.settings.models, reader_of(request))
        found = views.quarantine(control.store, identity, limit, blind)
        note(request, model=found["model"])
        return found

    return router


def create_acting_router(control: Control) -> RouteList:
    """Routes under /api/quarantine that change which votes are learnt from."""
    router = RouteList(prefix="/api/quarantine")
    actions = Actions(control)

    @router.post("", status_code=201)
    @act(Act.QUARANTINE_HOLD)
    def hold(request: Request, said: HoldBody) -> list[views.View]:
        """Put the votes of a key, a user or a time in quarantine, later ones too: one quarantine per model."""
        predicate = Predicate(said.key, said.user, in_utc(said.since), in_utc(said.until))
        note(request, model=said.model)
        made = actions.hold(said.model, predicate, said.by)
        note(request, thing=" ".join(one["id"] for one in made))
        return made

    @router.post("/{identity}/release")
    @act(Act.QUARANTINE_RELEASE)
    def release(identity: str, said: SaidBody) -> dict[str, Any]:
        """Let the data of a quarantine be learnt from."""
        return actions.review(identity, "released", said.by)

    @router.post("/{identity}/reject")
    @act(Act.QUARANTINE_REJECT)
    def discard(identity: str, said: SaidBody) -> dict[str, Any]:
        """Leave the data of a quarantine out permanently."""
        return actions.review(identity, "rejected", said.by)

    return router
