"""The route of usage: what models and keys used, and what it cost."""

from datetime import date
from typing import Annotated

from fastapi import Query, Request

from core.acts import only_numbers
from core.db.usage import By, Split
from core.route_list import RouteList
from ops import usage_report
from ops.api.models import Moment, in_utc
from ops.control import Control
from ops.model_limits import shows_own_models
from ops.serving_costs import Prices
from ops.views import View

Name = Annotated[str | None, Query(min_length=1, max_length=128)]


def create_router(control: Control) -> RouteList:
    """The route under /api that adds up usage."""
    router = RouteList(prefix="/api")

    @router.get("/usage")
    @only_numbers
    @shows_own_models
    def usage(
        request: Request,
        by: By = "day",
        split: Split = "model",
        model: Name = None,
        key: Name = None,
        since: Moment = None,
        until: Moment = None,
    ) -> View:
        """Requests, errors, tokens and cost per `day` or `month` in UTC, split by `model` or `key`.

        `model` and `key` count only these. Without `since`: 30 days, or 12 months. The day of `until` does not count.
        """
        own = request.state.admission.models
        days: list[date | None] = [found.date() if found else None for found in map(in_utc, (since, until))]
        return usage_report.report(
            control.store,
            Prices.of(control.settings.engine),
            control.clock,
            by=by,
            split=split,
            models=[model] if model else own,
            key=key,
            since=days[0],
            until=days[1],
            with_unused=own is None and model is None and key is None,
        )

    return router
