"""Logging in and out: a key is shown once, and the browser keeps a name for it.

It owns the two forms; sessions and cookies have their own modules.
"""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from core.acts import Act, act, no_act
from core.api_keys import Scope
from core.errors import Forbidden, KeyRefused, LimitReached
from core.http import named_if_refused
from ops.console.auth import FormFields, Visitors, cookie_name, is_secure, read_own_form

FRONT = "/promotions"


def create_router(visitors: Visitors) -> APIRouter:
    """The page to log in, which is open, and the form that it sends."""
    router = APIRouter()

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
                permit = visitors.access.admit(f"Bearer {key}", Scope.OPS_READ)
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
        old = visitors.session_of(request)
        if old:
            visitors.sessions.end(old)
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


def create_leaving_router(visitors: Visitors) -> APIRouter:
    """The form to log out."""
    router = APIRouter()

    @router.post("/logout", include_in_schema=False)
    @act(Act.LOGOUT)
    def log_out(request: Request, _: FormFields) -> Response:
        session = visitors.session_of(request)
        if session:
            visitors.sessions.end(session)
        done = RedirectResponse("/login", 303)
        done.delete_cookie(cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="strict")
        return done

    return router


def local(onward: str) -> str:
    """The path to go to after the log-in, if it is one of ours, or else the front page.

    Browsers take backslashes for slashes and drop control characters, so that both could hide another host.
    """
    parts = urlsplit(onward)
    plain = onward.isprintable() and onward.isascii() and "\\" not in onward
    ours = not parts.scheme and not parts.netloc and onward.startswith("/") and not onward.startswith("//")
    return onward if plain and ours and not onward.startswith(("/login", "/logout")) else FRONT
