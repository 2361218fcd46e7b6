"""The page of the audit log, with filters and older rows. It needs a key of `admin`."""

from fastapi import Request

from core.acts import Act, act
from core.route_list import RouteList
from ops.audit import views
from ops.console.pages import A_PAGE, Number, Text, View, moment, page_adder, visible_models
from ops.console.rendering import Pages
from ops.control import Control


def create_router(control: Control, pages: Pages) -> RouteList:
    """The page and its `.json` twin."""
    router = RouteList()

    def page_of(
        request: Request,
        act: Text = None,
        actor: Text = None,
        model: Text = None,
        outcome: Text = None,
        since: Text = None,
        until: Text = None,
        before: Number = None,
    ) -> View:
        wanted = views.wanted(
            act=act,
            actor=actor,
            model=model,
            outcome=outcome,
            since=moment("since", since),
            until=moment("until", until),
            before=before,
        )
        found = views.rows(control.audit, wanted, A_PAGE + 1)
        return {
            "rows": found[:A_PAGE],
            "chosen": views.as_dict(wanted),
            "next_before": found[A_PAGE - 1]["seq"] if len(found) > A_PAGE else None,
            "acts": (*views.GROUPS, *Act),
            "outcomes": views.OUTCOMES,
            "models": visible_models(control, request),
            "chain": views.state(control.audit, control.audit_watch),
            "days": control.settings.retention.audit_log,
        }

    page_adder(router, control, pages)("/audit", "audit.html", page_of, act(Act.AUDIT_READ))
    return router
