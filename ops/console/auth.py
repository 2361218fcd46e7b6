"""Visitors: who asks for a page, by a session's cookie or by a key in a header, and whether a form is theirs.

It owns the cookie and the check of forms; it must not know what a page shows. A browser gets its errors as pages.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request, Response
from starlette.requests import ClientDisconnect

from core.api_key_store import ApiKeyStore
from core.api_keys import Scope
from core.db.store import Store
from core.errors import Forbidden, InputError, KeyRefused, LoraLoopError
from core.http import AuthorizedRequest, Wanted, named_if_refused, read_body, refusal, scope_of
from ops.console.person_sessions import PersonSession, PersonSessions
from ops.console.rendering import Pages
from ops.console.sessions import Session, Sessions
from ops.model_limits import refuse_other_models
from ops.oidc.sign_in import SignIn
from serve.gateway.authentication import KeyChecker

COOKIE = "loraloop_session"
# A browser keeps a cookie of this name only if it came over TLS, for this host alone and all of it.
SECURE_COOKIE = f"__Host-{COOKIE}"
# A correction of 20,000 characters, each as long as an escape of UTF-8 gets.
LONGEST_FORM = 192 * 1024
LONGEST_NAME = 64
# What the page of an error is headed with, by its status, where a page was to be shown.
HEADINGS = {403: "No access", 404: "Not found", 409: "This cannot be done now"}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: the id of a key or a person, their name, how the ledger calls them, and what they may do.

    `token` is what their forms must carry. `models` are those that they may see, None for all. `may_read_texts` says
    whether pages with texts or names of users open to them, and `is_admin` those for `admin`.
    """

    key_id: str
    name: str
    actor: str
    may_act: bool
    token: str
    session: Session | PersonSession | None
    models: tuple[str, ...] | None = None
    may_read_texts: bool = True
    is_admin: bool = False

    def opens(self, scope: Scope) -> bool:
        """Whether pages that need this scope open to the visitor."""
        own = {Scope.OPS_READ: self.may_read_texts, Scope.OPS_WRITE: self.may_act, Scope.ADMIN: self.is_admin}
        return own.get(scope, True)


def is_secure(request: Request) -> bool:
    """Whether the browser uses TLS, to us or to the proxy before us.

    A false header only makes the caller's own cookie stricter.
    """
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"


def cookie_name(request: Request) -> str:
    """The cookie that this connection may carry."""
    return SECURE_COOKIE if is_secure(request) else COOKIE


def _session_names(request: Request) -> list[str]:
    """The values of the session's cookies.

    A proxy that does not say that it has TLS may pass on the cookie that only TLS carries. The other cookie does not
    count over TLS, because somebody on the network could have set it.
    """
    counting = (SECURE_COOKIE,) if is_secure(request) else (SECURE_COOKIE, COOKIE)
    return [request.cookies[name] for name in counting if name in request.cookies]


class Visitors:
    """Identifies visitors by session cookie or key."""

    def __init__(
        self,
        *,
        store: Store,
        access: KeyChecker,
        sessions: Sessions,
        people: PersonSessions,
        sign_in: SignIn,
        keyring: ApiKeyStore,
        pages: Pages,
    ) -> None:
        self.store = store
        self.access = access
        self.sessions = sessions
        self.people = people
        self.sign_in = sign_in
        self.keyring = keyring
        self.pages = pages

    async def session_of(self, request: Request) -> Session | PersonSession | None:
        """The session that the request's cookie names, of a key or of a person."""
        for name in _session_names(request):
            # The store may make readers wait, and the event loop must not wait with them.
            found = self.sessions.find(name) or await asyncio.to_thread(self.people.find, name)
            if found is not None:
                return found
        return None

    async def end(self, session: Session | PersonSession | None) -> None:
        """Logs out."""
        if isinstance(session, PersonSession):
            await asyncio.to_thread(self.people.end, session)
        elif session is not None:
            self.sessions.end(session)

    def require(self, wanted: Wanted) -> Callable[[Request, Response], AsyncIterator[None]]:
        """A dependency that requires a session or a key of this scope, and puts the visitor into `request.state`."""

        async def check(request: Request, response: Response) -> AsyncIterator[None]:
            shown = request.headers.get("authorization")
            scope = scope_of(wanted, request.scope["route"])
            session = None if shown else await self.session_of(request)
            if isinstance(session, PersonSession):
                request.state.actor = session.person.actor  # for the audit log, also if this is refused
                passed = session.permit(scope)
            else:
                with named_if_refused(request):
                    passed = self.access.admit(session.authorization if session else shown, scope)
            request.state.key_id, request.state.admission = passed.key_id, passed
            try:
                refuse_other_models(self.store, request)
                request.state.visitor = self._visitor(passed, session)
                response.headers.update(passed.headers)
                yield
            finally:
                passed.release()

        return check

    def _visitor(self, passed: AuthorizedRequest, session: Session | PersonSession | None) -> Visitor:
        may_act, models = passed.opens(Scope.OPS_WRITE), passed.models
        opens = passed.opens(Scope.OPS_READ), passed.opens(Scope.ADMIN)
        if isinstance(session, PersonSession):
            person = session.person
            return Visitor(person.id, person.name, person.actor, may_act, session.token, session, models, *opens)
        name, actor = self.keyring.name_of(passed.key_id), self.keyring.actor_of(passed.key_id)
        return Visitor(passed.key_id, name, actor, may_act, self.sessions.token(session), session, models, *opens)

    def refuse(self, request: Request, error: LoraLoopError) -> Response:
        """An error as a page; without a key, the page to log in, which leads back to the page requested."""
        if not wants_page(request):
            return refusal(error)
        if isinstance(error, KeyRefused):
            asked = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
            return self.login(asked if request.method == "GET" else "/", status=error.status)
        answer = self.fault(request, error)
        if error.retry_after_s is not None:
            answer.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
        return answer

    def fault(self, request: Request, error: LoraLoopError) -> Response:
        """The page of an error. Its heading says whether something was to be done or to be shown."""
        heading = HEADINGS.get(error.status, "This cannot be shown")
        if request.method != "GET":
            heading = "This was not done"
        return self.pages.render(
            "error.html", error.status, error=error, heading=heading, visitor=known(request), badges={}
        )

    def login(self, onward: str, *, status: int = 200, fault: str = "") -> Response:
        """The page to log in."""
        answer = self.pages.render(
            "login.html",
            status,
            onward=onward,
            fault=fault,
            token=self.sessions.token(None),
            provider=self.sign_in.host,
        )
        if status == KeyRefused.status:
            answer.headers["WWW-Authenticate"] = "Bearer"
        return answer


def known(request: Request) -> Visitor | None:
    """The visitor, if the access check admitted one."""
    return getattr(request.state, "visitor", None)


def wants_page(request: Request) -> bool:
    """Whether the answer is for people; a `.json` twin and a caller with a key in its header get JSON."""
    return not request.url.path.endswith(".json") and "authorization" not in request.headers


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises InputError."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise InputError("This takes a form.", hint="Programs use the routes under /api.")
    try:
        body = await read_body(request.scope, request.receive, LONGEST_FORM)
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=50)
    except ClientDisconnect as error:
        raise InputError("The client went away before its form was whole.") from error
    except ValueError as error:
        raise InputError("The form cannot be read.") from error
    return {name: values[-1] for name, values in fields.items()}


async def read_own_form(request: Request, token: str) -> dict[str, str]:
    """The fields of a form that our own page made this visitor send, known by its token. Raises Forbidden."""
    fields = await read_form(request)
    if not hmac.compare_digest(fields.pop("token", "").encode("utf-8", "replace"), token.encode()):
        raise Forbidden("This form is out of date; nothing was done.", hint="Go back, reload the page, try again.")
    return fields


def the_visitor(request: Request) -> Visitor:
    """A dependency that gives the visitor whom the access check admitted."""
    return request.state.visitor


async def their_form(request: Request) -> dict[str, str]:
    """A dependency that gives the fields of the visitor's own form."""
    return await read_own_form(request, the_visitor(request).token)


ByVisitor = Annotated[Visitor, Depends(the_visitor)]
FormFields = Annotated[dict[str, str], Depends(their_form)]
