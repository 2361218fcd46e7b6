"""The console with all its parts: one router per subject, each with the access check that it needs.

It owns wiring; sessions, pages and actions know nothing of each other.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from core.api_keys import Scope
from core.errors import LoraLoopError, NotFound
from core.http import Wanted, answer, input_error, reading_scope
from core.route_list import RouteList
from ops.alarms.watch import AlarmWatch
from ops.audit.middleware import require_recording
from ops.console import (
    actions,
    agreement,
    alarm_actions,
    assets,
    audit,
    erasing,
    labelling,
    login,
    model_actions,
    oidc_login,
    pages,
    planning,
    quarantine_actions,
    run_actions,
    usage,
)
from ops.console.auth import Visitors, wants_page
from ops.console.badges import Badges
from ops.console.links import PageScopes
from ops.console.person_sessions import PersonSessions
from ops.console.rendering import Pages
from ops.console.sessions import Sessions
from ops.control import Control
from ops.erasures import Erasures
from ops.notify.notifier import Delivery
from ops.oidc.sign_in import SignIn
from serve.gateway.authentication import KeyChecker


def add_routes(
    app: FastAPI,
    control: Control,
    access: KeyChecker,
    watch: AlarmWatch,
    deliveries: Callable[[], list[Delivery]] = list,
    erasures: Erasures | None = None,
) -> None:
    """Give the app every route of the console; `deliveries` returns the state of each target of notifications.

    Without `erasures` it has no pages to erase users.
    """
    sessions = Sessions(hours=control.settings.control.session_hours, clock=control.clock)
    scopes = PageScopes()
    rendered = Pages(Badges(control, watch).count, scopes)
    visitors = Visitors(
        store=control.store,
        access=access,
        sessions=sessions,
        people=PersonSessions(store=control.store, settings=lambda: control.settings, clock=control.clock),
        sign_in=SignIn(lambda: control.settings, control.clock),
        keyring=control.keyring,
        pages=rendered,
    )
    as_page: dict[str, Any] = {
        "route_class_override": _route_class(visitors),
        "include_in_schema": False,
        "response_model": None,
    }

    recording = Depends(require_recording(control.audit))

    def include(part: RouteList, wanted: Wanted) -> None:
        before = len(app.router.routes)
        part.add_to(app.router, [Depends(visitors.require(wanted)), recording], **as_page)
        scopes.add(app.router.routes[before:], wanted)

    for part in (assets.create_router(), login.create_router(visitors), oidc_login.create_router(visitors)):
        part.add_to(app.router, **as_page)
    for part in (
        login.create_leaving_router(visitors),
        pages.create_router(control, rendered, watch, deliveries),
        usage.create_router(control, rendered),
        planning.create_router(control, rendered),
    ):
        include(part, reading_scope)
    parts = (actions, model_actions, quarantine_actions, run_actions)
    acting = (part.create_router(control, rendered) for part in parts)
    silencing = alarm_actions.create_router(watch, control.clock, rendered)
    for part in (*acting, labelling.create_router(control), agreement.create_router(control), silencing):
        include(part, Scope.OPS_WRITE)
    for part in (audit.create_router(control, rendered), usage.create_keys_router(control, rendered)):
        include(part, Scope.ADMIN)
    app.add_exception_handler(404, partial(_unknown, visitors))
    if erasures is not None:
        part = erasing.create_router(erasures, rendered, actions.LONGEST_COMMENT)
        include(part, Scope.ADMIN)


async def _unknown(visitors: Visitors, request: Request, error: Exception) -> Response:
    """A path that no route has: a page for a browser, which says so in what it accepts, and JSON for programs."""
    path = request.url.path
    fault = NotFound("page", path, hint="See the names of pages above, or the overview.")
    if "text/html" not in request.headers.get("accept", "") or not wants_page(request):
        return answer(404, f"{getattr(error, 'detail', 'Not Found')}.", code="http_error")
    return visitors.fault(request, fault)


def _route_class(visitors: Visitors) -> type[APIRoute]:
    class PageRoute(APIRoute):
        """A route whose errors are pages for people."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    return await inner(request)
                except LoraLoopError as error:
                    return visitors.refuse(request, error)
                except RequestValidationError as error:
                    return visitors.refuse(request, input_error(error))

            return handle

    return PageRoute
