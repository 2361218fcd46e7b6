"""The error that a server answers with."""

from collections.abc import Mapping
from typing import Any

from core.errors import LoraLoopError


class Refused(LoraLoopError):
    """A server's error. `status` is 0 for one object of a batch. `code` is for programs, `field` is at fault."""

    def __init__(self, message: str, *, status: int, code: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        self._code = code

    @property
    def code(self) -> str:
        """The server's own code, such as `unknown_model`."""
        return self._code


def refused(status: int, body: Any, text: str = "") -> Refused:
    """The error of a response: in OpenAI's shape, as LoraLoop and proxies before it may send it, or as `text`."""
    error: Any = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        return Refused(f"The server answered {status}: {text[:200]}".rstrip(": "), status=status)
    code, field = error.get("code"), error.get("param")
    return Refused(
        error["message"],
        status=status,
        code=code if isinstance(code, str) else "",
        field=field if isinstance(field, str) else None,
    )
