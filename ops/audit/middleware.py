"""Records the acts of control's requests by what their routes declare, before an answer begins."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.acts import NEVER_REFUSED, WRITTEN_SOON, declared
from core.audit_log import Entry
from core.errors import AuditLogFailed
from core.http import refusal
from ops.audit.recorder import AuditRecorder
from ops.audit.requests import act_of, entry_of
from ops.control import Control
from ops.model_limits import model_in_query, model_of

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"


def require_recording(recorder: AuditRecorder) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency for after the key's check: it refuses acts while their rows cannot be written.

    It raises AuditLogFailed.
    """

    async def check(request: Request) -> None:
        if not recorder.failing:
            return
        act = act_of(request.scope, 200)
        if act is not None and act not in NEVER_REFUSED:
            await asyncio.to_thread(recorder.require)

    return check


class _Replaced(Exception):
    """Ends an answer whose act has no row."""


class AuditMiddleware:
    """ASGI middleware. An answer to an act begins after the act is recorded; without a row it is replaced by an error.

    Reads, log-ins and refusals are recorded within seconds, so that they cost no write of their own.
    """

    def __init__(self, app: ASGIApp, *, control: Control) -> None:
        self.app = app
        self.control = control
        self.recorder = control.audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = replaced = False

        async def record_first(message: Message) -> None:
            nonlocal begun, replaced
            if message["type"] == "http.response.start":
                begun = True
                try:
                    await self._record(scope, message)
                except AuditLogFailed as error:
                    replaced = True
                    await refusal(error)(scope, receive, send)
                    raise _Replaced from error
            await send(message)

        try:
            await self.app(scope, receive, record_first)
        except Exception:
            if replaced:
                return  # the error is sent, and what was to be sent instead must not be made
            if not begun:  # the answer is the 500 of the app around this
                await self._record(scope, {"status": 500, "headers": []})
            raise

    async def _record(self, scope: Scope, message: Message) -> None:
        status = message["status"]
        act = act_of(scope, status)
        if act is None:
            return
        headers = MutableHeaders(raw=message["headers"])
        request_id = headers.setdefault(REQUEST_ID, f"req-{secrets.token_hex(12)}")
        if act in WRITTEN_SOON or status >= 400:
            entry = self._entry(scope, status, request_id, model_in_query(Request(scope)))
            if entry is not None:
                self.recorder.later(entry)
            return
        await asyncio.to_thread(self._write, scope, status, request_id)

    def _write(self, scope: Scope, status: int, request_id: str) -> None:
        try:
            model = model_of(self.control.store, Request(scope))
        except Exception:  # the act is done: a row without its model is better than none
            log.exception("the model of an act is not known")
            model = None
        entry = self._entry(scope, status, request_id, model)
        if entry is None:
            return
        try:
            self.recorder.write(entry)
        except AuditLogFailed:
            if entry.act not in NEVER_REFUSED:
                raise

    def _entry(self, scope: Scope, status: int, request_id: str, model: str | None) -> Entry | None:
        return entry_of(
            scope,
            status,
            now=self.recorder.clock(),
            actor=self._actor(scope),
            models=self.control.settings.models,
            model=model,
            request_id=request_id,
        )

    def _actor(self, scope: Scope) -> str:
        state = scope.get("state", {})
        visitor = state.get("visitor")
        if visitor is not None:
            return visitor.actor
        if "actor" in state:  # a person without a key
            return state["actor"]
        return self.control.keyring.actor_of(state["key_id"]) if "key_id" in state else ""


def undeclared(routes: Collection[Any]) -> list[str]:
    """Routes that declare neither an act nor why they have none."""
    return [
        f"{method} {route.path}"
        for route in routes
        if declared(route) is None
        for method in sorted(getattr(route, "methods", None) or ("ANY",))
    ]
