"""The ops API of runs: read them, and cancel, pause or resume one.

Handlers are thin: they parse, call a view or an action, and render.
"""

from core.acts import Act, act, only_numbers
from core.route_list import RouteList
from ops import views
from ops.actions import Actions
from ops.api.models import Limit, SaidBody
from ops.control import Control


def create_reading_router(control: Control) -> RouteList:
    """Routes under /api/runs that change nothing."""
    router = RouteList(prefix="/api/runs")
    store = control.store

    @router.get("")
    @only_numbers
    def runs(model: str | None = None, limit: Limit = 50) -> list[views.View]:
        """Runs with their progress, newest first."""
        return views.runs(store, model, limit)

    @router.get("/{identity}")
    @only_numbers
    def run(identity: str) -> views.View:
        """One run with every step, each trial of its search, and each KPI by arm."""
        return views.run(store, identity)

    return router


def create_acting_router(control: Control) -> RouteList:
    """Routes under /api/runs that end, pause or continue one."""
    router = RouteList(prefix="/api/runs")
    actions = Actions(control)

    @router.post("/{identity}/cancel")
    @act(Act.RUNS_CANCEL)
    def cancel(identity: str, said: SaidBody) -> views.View:
        """End a run that is queued, paused or in progress. The champion stays."""
        return actions.interrupt_run(identity, "cancel", said.by)

    @router.post("/{identity}/pause")
    @act(Act.RUNS_PAUSE)
    def pause(identity: str, said: SaidBody) -> views.View:
        """Pause a run. A training ends after its step, with a checkpoint."""
        return actions.interrupt_run(identity, "pause", said.by)

    @router.post("/{identity}/resume", status_code=202)
    @act(Act.RUNS_RESUME)
    def resume(identity: str, said: SaidBody) -> views.View:
        """Continue a paused run at its last checkpoint."""
        return actions.resume_run(identity, said.by)

    return router
