"""Logging in by an OpenID Connect provider: the redirect to it, and the way back.

It owns the routes and the short-lived cookie that ties a log-in to its browser; `ops/oidc` has the rest.
"""

import asyncio
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from core.acts import Act, act, no_act
from core.errors import LoginRefused, LoraLoopError, ProviderFailed
from core.route_list import RouteList
from ops.console.auth import COOKIE, SECURE_COOKIE, Visitors, is_secure
from ops.console.login import FRONT, local
from ops.oidc.pending import SECONDS
from ops.oidc.people import Access
from ops.oidc.sign_in import RETURN_PATH, START_PATH, LoggedIn

LOGIN_COOKIE = "loraloop_login"
SECURE_LOGIN_COOKIE = f"__Host-{LOGIN_COOKIE}"


def create_router(visitors: Visitors) -> RouteList:
    """The way to the provider and the way back. Both are open."""
    router = RouteList()

    @router.get(START_PATH, include_in_schema=False)
    @no_act("It sends the browser to the provider.")
    async def start(request: Request, onward: str = FRONT) -> Response:
        onward = local(onward)
        try:
            url, pending = await visitors.sign_in.begin(onward)
        except ProviderFailed as error:
            return _refuse(visitors, error, onward)
        done = RedirectResponse(url, 303)
        secure = _is_secure(visitors, request)
        done.set_cookie(
            SECURE_LOGIN_COOKIE if secure else LOGIN_COOKIE,
            pending.browser,
            max_age=SECONDS,
            path="/",
            secure=secure,
            httponly=True,
            samesite="lax",  # a strict one would not come back with the provider's redirect
        )
        return done

    @router.get(RETURN_PATH, include_in_schema=False)
    @act(Act.LOGIN)
    async def come_back(request: Request) -> Response:
        secure = _is_secure(visitors, request)
        browser = request.cookies.get(SECURE_LOGIN_COOKIE if secure else LOGIN_COOKIE, "")
        try:
            found = await visitors.sign_in.finish(request.query_params, browser)
        except (LoginRefused, ProviderFailed) as error:
            return _refuse(visitors, error, FRONT)
        request.state.actor = found.person.actor
        if found.access.role is None:
            return await _no_access(visitors, found)
        await visitors.end(await visitors.session_of(request))
        session = await asyncio.to_thread(visitors.people.begin, found.person, found.access)
        done = RedirectResponse(_first_page(found.onward, found.access), 303)
        done.set_cookie(
            SECURE_COOKIE if secure else COOKIE,
            session.name,
            max_age=visitors.people.seconds,
            path="/",
            secure=secure,
            httponly=True,
            samesite="lax",  # this redirect began at the provider, and the next page needs the cookie
        )
        done.delete_cookie(
            SECURE_LOGIN_COOKIE if secure else LOGIN_COOKIE, path="/", secure=secure, httponly=True, samesite="lax"
        )
        return done

    return router


def _is_secure(visitors: Visitors, request: Request) -> bool:
    """Whether the browser uses TLS. The provider sends it to the public URL, so that URL says it too."""
    return visitors.sign_in.public_url.startswith("https:") or is_secure(request)


def _first_page(onward: str, access: Access) -> str:
    """The page after the log-in. The front page of all models refuses people who may see some of them only."""
    if onward == FRONT and access.models:
        return f"{FRONT}?model={quote(access.models[0], safe='')}"
    return onward


def _refuse(visitors: Visitors, error: LoraLoopError, onward: str) -> Response:
    """The log-in page with what went wrong, where a key still works."""
    answer = visitors.login(onward, status=error.status, fault=str(error))
    if error.retry:
        answer.headers["Retry-After"] = "10"
    return answer


async def _no_access(visitors: Visitors, found: LoggedIn) -> Response:
    """The page for a person whom the settings give no role."""
    return visitors.pages.render(
        "no_access.html",
        403,
        provider=visitors.sign_in.host,
        person=found.person.name,
        reason=found.access.reason,
        leave=await visitors.sign_in.leaving_url(),
    )
