"""What every HTTP app of the house shares: bounded bodies, errors in OpenAI's shape, keys.

It must not know any route.
"""

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from core.errors import InputError, LoraLoopError

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 2


class KeyRefused(LoraLoopError):
    """The request carries no key, or a wrong one."""

    status = 401


async def read_json(request: Request, limit: int) -> Any:
    """The body as JSON, at most `limit` bytes long. Raises InputError."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise InputError(f"The body is larger than {limit} bytes.", hint="Send less at once.")
            parts.append(part)
    except ClientDisconnect as error:
        raise InputError("The client went away before its body was whole.") from error
    try:
        return orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError as error:
        raise InputError(f"The body is not JSON: {error}.") from error


def require_key(key: SecretStr | None) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request through with `Authorization: Bearer KEY`, or always if there is no key."""

    async def check(request: Request) -> None:
        if key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        # Headers are read as Latin-1, which gives the bytes back as they came.
        if not hmac.compare_digest(given.encode("latin-1"), key.get_secret_value().encode()):
            raise KeyRefused("The API key is missing or wrong.", hint="Send Authorization: Bearer with your key.")

    return check


def answer(status: int, message: str, *, code: str, retry: bool = False) -> Response:
    """An error in OpenAI's shape, with a request id that also stands in the log."""
    request_id = f"req-{secrets.token_hex(12)}"
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    headers = {"X-Request-Id": request_id}
    if retry:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    log.log(logging.WARNING if status >= 500 else logging.INFO, "%s %d %s", request_id, status, message)
    return JSONResponse(body, status, headers)


def refusal(error: LoraLoopError) -> Response:
    """An error of ours as an answer."""
    return answer(error.status, str(error), code=_code(error), retry=error.retry)


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
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(422, f"{where}: {first['msg']}.", code="input_error")

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, f"{error.detail}.", code="http_error")

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        return bug(error)


def _code(error: LoraLoopError) -> str:
    name = type(error).__name__
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
