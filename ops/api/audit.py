"""The API of the audit log: its rows, and whether its chain is whole."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from core.acts import Act, act, only_numbers
from core.api_keys import Scope
from core.db.audit_log import Filter
from core.errors import Forbidden
from core.route_list import RouteList
from ops.api.models import Limit, Moment, in_utc
from ops.audit import views
from ops.control import Control

Text = Annotated[str | None, Query(max_length=200)]
Number = Annotated[int | None, Query(ge=0, lt=2**62)]


def filter_of(
    act: Text = None,
    actor: Text = None,
    model: Text = None,
    outcome: Text = None,
    since: Moment = None,
    until: Moment = None,
    before: Number = None,
) -> Filter:
    """The filter of a request. Raises InputError."""
    since, until = in_utc(since), in_utc(until)
    return views.wanted(act=act, actor=actor, model=model, outcome=outcome, since=since, until=until, before=before)


def create_reading_router(control: Control) -> RouteList:
    """The route of the rows."""
    router = RouteList(prefix="/api")

    @router.get("/audit")
    @act(Act.AUDIT_READ)
    def rows(wanted: Annotated[Filter, Depends(filter_of)], limit: Limit = 50) -> list[dict[str, Any]]:
        """Rows of the audit log, newest first. `act` is an act or the first word of several, such as `keys`."""
        return views.rows(control.audit, wanted, limit)

    return router


def create_chain_router(control: Control) -> RouteList:
    """The route that verifies the log."""
    router = RouteList(prefix="/api")

    @router.get("/audit/chain")
    @only_numbers
    def chain(request: Request, whole: bool = False) -> dict[str, Any]:
        """Whether every row of the audit log follows from the one before, and whether the log can be written.

        Rows since the last check are checked. `whole` checks all rows again, and needs a key with `admin`.
        """
        if whole and not request.state.admission.opens(Scope.ADMIN):
            raise Forbidden("whole: needs a key with admin.", hint="Without it, rows since the last check are checked.")
        return views.chain(control.audit, control.audit_watch, whole=whole)

    return router
