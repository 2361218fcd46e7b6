"""Shared parts of both HTTP apps: bounded bodies, errors in OpenAI's format, and key checks."""

import asyncio
import base64
import json
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive
from starlette.types import Scope as AsgiScope

from core.acts import declared
from core.api_keys import Scope
from core.content_encodings import unpack
from core.errors import BodyTooLarge, Forbidden, InputError, KeyRefused, LimitReached, LoraLoopError
from core.field_errors import field_error
from core.logs import fields

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 2
# Longest time that a body may take to come; a slower sender only holds a connection.
BODY_SECONDS = 60.0
SLOW_BODY = "The body took too long."

Parsed = TypeVar("Parsed", bound=BaseModel)


async def read_body(scope: AsgiScope, receive: Receive, limit: int) -> bytes:
    """A request's body, unpacked, at most `limit` bytes long. Raises BodyTooLarge, InputError, or ClientDisconnect."""
    length, encoding = b"0", b""
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = value
        elif name == b"content-encoding":
            encoding = value
    if int(length) > limit:
        raise _too_large(limit)
    parts, size = [], 0
    task = asyncio.current_task()
    assert task is not None
    # `asyncio.timeout` would take a thirtieth of a request's time in the gateway.
    timer = asyncio.get_running_loop().call_later(BODY_SECONDS, task.cancel, SLOW_BODY)
    try:
        while (message := await receive())["type"] == "http.request":
            body = message.get("body", b"")
            size += len(body)
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                content = b"".join((*parts, body)) if parts else body
                return unpack(content, encoding.decode("latin-1"), limit) if encoding else content
            parts.append(body)
    except asyncio.CancelledError as error:
        if error.args != (SLOW_BODY,):
            raise
        task.uncancel()
        raise InputError(f"The body was not whole after {BODY_SECONDS:.0f} s.", hint="Send it faster.") from None
    finally:
        timer.cancel()
    raise ClientDisconnect


def parse_json(content: bytes) -> Any:
    """A body as JSON. Raises InputError."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InputError(f"The body is not JSON: {error}.") from error


def parse_json_with_any_text(content: bytes) -> Any:
    """A body as JSON that may have halves of surrogate pairs, so that the caller can name the element that has one.

    Raises InputError.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if b"\\u" not in content:
            raise InputError(f"The body is not JSON: {error}.") from error
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The body is not JSON: {error}.") from error


async def read_json(request: Request, limit: int, parse: Callable[[bytes], Any] = parse_json) -> Any:
    """The body as JSON, at most `limit` bytes long. Raises InputError."""
    try:
        return parse(await read_body(request.scope, request.receive, limit))
    except ClientDisconnect as error:
        raise InputError("The client went away before its body was whole.") from error


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit} bytes.", hint="Send less at once.")


class BodyRefused(RequestValidationError):
    """A body has fields that are wrong. `fields` are the names of those that it may have."""

    def __init__(self, errors: Sequence[Any], model: type[BaseModel]) -> None:
        super().__init__(errors)
        self.fields = tuple(field.alias or name for name, field in model.model_fields.items())


class JsonBody(Generic[Parsed]):
    """A FastAPI dependency that reads and validates a body of at most `limit` bytes.

    FastAPI reads a declared body before it runs dependencies. This one is read only after the key was accepted. `model`
    is there for the API's description.
    """

    def __init__(self, model: type[Parsed], limit: int = 64 * 1024) -> None:
        self.model = model
        self._limit = limit

    async def __call__(self, request: Request) -> Parsed:
        """Return the body. Raises InputError, BodyTooLarge or BodyRefused."""
        data = await read_json(request, self._limit)
        try:
            return self.model.model_validate(data)
        except ValidationError as error:
            raise BodyRefused(error.errors(), self.model) from error


class AuthorizedRequest(Protocol):
    """A request that was let in."""

    headers: Mapping[str, str]

    @property
    def key_id(self) -> str: ...

    @property
    def models(self) -> tuple[str, ...] | None:
        """The models that the key may use; None is all."""
        ...

    def require_model(self, model: str) -> None:
        """Raise Forbidden unless the key may use this model."""
        ...

    def opens(self, scope: Scope) -> bool:
        """Whether the key has another scope too."""
        ...

    def release(self, tokens: int = 0) -> None:
        """Ends it."""


class Authenticator(Protocol):
    """Who checks keys; `serve.gateway.authentication.Access` is one."""

    def admit(self, authorization: str | None, scope: Scope) -> AuthorizedRequest:
        """Lets in or raises KeyRefused, Forbidden or LimitReached."""
        ...


# A scope, or what gives the scope that a route needs.
Wanted = Scope | Callable[[Any], Scope]


def reading_scope(route: Any) -> Scope:
    """`ops:numbers` for a route which declares that it shows no texts of users, else `ops:read`."""
    declaration = declared(route)
    return Scope.OPS_READ if declaration is None or declaration.texts else Scope.OPS_NUMBERS


def scope_of(wanted: Wanted, route: Any) -> Scope:
    """The scope that a route needs."""
    return wanted if isinstance(wanted, Scope) else wanted(route)


def require_key(
    authenticator: Authenticator, *wanted: Wanted, read: Callable[[str | None], str | None] = lambda header: header
) -> Callable[[Request, Response], AsyncIterator[None]]:
    """Return a dependency that requires a key with one of the scopes, as `Authorization: Bearer KEY`.

    `read` turns the header of another scheme into that one.
    """

    async def check(request: Request, response: Response) -> AsyncIterator[None]:
        with named_if_refused(request):
            scopes = (scope_of(each, request.scope.get("route")) for each in wanted)
            passed = admit_any(authenticator, read(request.headers.get("authorization")), *scopes)
        request.state.key_id, request.state.admission = passed.key_id, passed
        response.headers.update(passed.headers)
        try:
            yield
        finally:
            passed.release()

    return check


@contextmanager
def named_if_refused(request: Request) -> Iterator[None]:
    """Put the id of a valid key whose request is refused into `request.state.key_id`, for the audit log."""
    try:
        yield
    except (Forbidden, LimitReached) as error:
        if error.key_id:
            request.state.key_id = error.key_id
        raise


def admit_any(authenticator: Authenticator, authorization: str | None, *scopes: Scope) -> AuthorizedRequest:
    """Lets in with any one of the scopes."""
    *others, last = scopes
    for scope in others:
        with suppress(Forbidden):
            return authenticator.admit(authorization, scope)
    return authenticator.admit(authorization, last)


def bearer_of_basic(authorization: str | None) -> str | None:
    """The header with the password of HTTP Basic as its key; a header of another scheme as it is."""
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return authorization
    try:
        _, _, password = base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")
    except ValueError:
        return None
    return f"Bearer {password}"


def is_let_in(authenticator: Authenticator, request: Request, *scopes: Scope) -> bool:
    """Whether a request carries a key with one of the scopes; for routes that tell others less."""
    try:
        admit_any(authenticator, request.headers.get("authorization"), *scopes).release()
    except (KeyRefused, Forbidden, LimitReached):
        return False
    return True


def error_object(status: int, message: str, *, code: str, field: str | None = None) -> dict[str, str | None]:
    """An error in OpenAI's format. `param` is the field at fault."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"message": message, "type": kind, "param": field, "code": code}


def answer(
    status: int,
    message: str,
    *,
    code: str,
    field: str | None = None,
    retry: bool = False,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Return an error in OpenAI's format, with a request id that is also in the log. `more` are further fields."""
    request_id = f"req-{secrets.token_hex(12)}"
    body = {"error": error_object(status, message, code=code, field=field), **(more or {})}
    sent = {"X-Request-Id": request_id, **(headers or {}), **_retry_after(retry, retry_after_s)}
    level = logging.WARNING if status >= 500 else logging.INFO
    log.log(level, "%s", message, extra=fields(request_id=request_id, status=status))
    return JSONResponse(body, status, sent)


def _retry_after(retry: bool, retry_after_s: float | None) -> dict[str, str]:
    if not retry and retry_after_s is None:
        return {}
    return {"Retry-After": str(RETRY_AFTER_SECONDS if retry_after_s is None else max(1, math.ceil(retry_after_s)))}


def retry_headers(error: LoraLoopError) -> dict[str, str]:
    """The headers of an error's answer, with when to try again if that helps."""
    return {**error.headers, **_retry_after(error.retry, error.retry_after_s)}


def refusal(error: LoraLoopError, more: Mapping[str, Any] | None = None) -> Response:
    """An error of ours as an answer. `more` are further fields of its body."""
    return answer(
        error.status,
        str(error),
        code=error.code,
        field=error.field if isinstance(error, InputError) else None,
        retry=error.retry,
        retry_after_s=error.retry_after_s,
        headers=error.headers,
        more=more,
    )


def input_error(error: RequestValidationError) -> InputError:
    """What is wrong with a request as an error of ours."""
    return field_error(error.errors(), error.fields if isinstance(error, BodyRefused) else ())


def bug(error: Exception) -> Response:
    """Anything else: the log has the details, the client only the news."""
    log.exception("unexpected error", exc_info=error)
    return answer(500, "An unexpected error; the log of the server has it.", code="internal_error")


def install_errors(app: FastAPI) -> None:
    """Makes every error of an app one clear sentence in OpenAI's shape."""

    @app.exception_handler(LoraLoopError)
    async def ours(_: Request, error: LoraLoopError) -> Response:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return refusal(input_error(error))

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, f"{error.detail}.", code="http_error")

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return bug(error)
