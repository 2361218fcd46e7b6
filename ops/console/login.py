"""Logging in and out: a key is shown once, and the browser keeps a name for it.

It owns the two forms; sessions and cookies have their own modules.
"""

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from core.acts import Act, act, no_act
from core.api_keys import Scope
from core.errors import Forbidden, KeyRefused, LimitReached
from core.http import named_if_refused
from core.route_list import RouteList
from ops.console.auth import COOKIE, SECURE_COOKIE, FormFields, Visitors, cookie_name, is_secure, read_own_form
from ops.console.person_sessions import PersonSession
from ops.console.sessions import Session

FRONT = "/overview"
LONGEST_PATH = 2048


def create_router(visitors: Visitors) -> RouteList:
    """The page to log in, which is open, and the form that it sends."""
    router = RouteList()

    @router.get("/login", include_in_schema=False)
    @no_act("It is the form to log in.")
    def show(onward: str = FRONT) -> Response:
        return visitors.login(local(onward))

    @router.post("/login", include_in_schema=False)
    @act(Act.LOGIN)
    async def log_in(request: Request) -> Response:
        fields = await read_own_form(request, visitors.sessions.token(None))
        address = request.client.host if request.client else ""
        onward = local(fields.get("onward", FRONT))
        try:
            visitors.sessions.may_try(address)
            key = fields.get("key", "").strip()
            with named_if_refused(request):
                permit = visitors.access.admit(f"Bearer {key}", Scope.OPS_NUMBERS)
            permit.release()
            request.state.key_id = permit.key_id
        except KeyRefused as error:
            visitors.sessions.failed(address)
            return visitors.login(onward, status=error.status, fault="This key is wrong or no longer valid.")
        except Forbidden as error:
            return visitors.login(onward, status=error.status, fault=str(error))
        except LimitReached as error:
            answer = visitors.login(onward, status=error.status, fault=str(error))
            answer.headers["Retry-After"] = str(max(1, round(error.retry_after_s or 1)))
            return answer
        await visitors.end(await visitors.session_of(request))
        session = visitors.sessions.begin(key)
        done = RedirectResponse(onward, 303)
        done.set_cookie(
            cookie_name(request),
            session.name,
            max_age=visitors.sessions.seconds,
            path="/",
            secure=is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return done

    return router


def create_leaving_router(visitors: Visitors) -> RouteList:
    """The form to log out."""
    router = RouteList()

    @router.post("/logout", include_in_schema=False)
    @act(Act.LOGOUT, texts=False)
    async def log_out(request: Request, _: FormFields) -> Response:
        session = await visitors.session_of(request)
        await visitors.end(session)
        done = await _after(visitors, session)
        for name in (COOKIE, SECURE_COOKIE):
            done.delete_cookie(name, path="/", secure=name == SECURE_COOKIE, httponly=True, samesite="strict")
        return done

    return router


async def _after(visitors: Visitors, session: Session | PersonSession | None) -> Response:
    """What follows a log-out. The provider still has its own session, and one click there would log in again.

    The way to its page is a link: the console's policy lets no form lead to another site.
    """
    if not isinstance(session, PersonSession):
        return RedirectResponse("/login", 303)
    leave = await visitors.sign_in.leaving_url()
    return visitors.pages.render("logged_out.html", leave=leave, provider=visitors.sign_in.host)


def local(onward: str) -> str:
    """The path to go to after the log-in, if it is one of ours, or else the front page.

    Browsers take backslashes for slashes and drop control characters, so that both could hide another host.
    """
    plain = len(onward) <= LONGEST_PATH and onward.isprintable() and onward.isascii() and "\\" not in onward
    ours = plain and onward.startswith("/") and not onward.startswith(("//", "/login", "/logout"))
    return onward if ours else FRONT
