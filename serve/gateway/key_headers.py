"""The headers in which clients send a key: OpenAI's `Authorization`, Anthropic's `x-api-key` and Azure's `api-key`."""

from starlette.types import Scope

ALONE = (b"x-api-key", b"api-key")


def authorization_of(scope: Scope) -> str | None:
    """The key of a request as an `Authorization` header, None without one. That header itself comes first."""
    key = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            return str(value, "latin-1")
        if name in ALONE:
            key = value
    return None if key is None else f"Bearer {key.decode('latin-1')}"


def with_authorization(scope: Scope) -> Scope:
    """The request with its key in the `Authorization` header."""
    names = {name for name, _ in scope["headers"]}
    if b"authorization" in names or names.isdisjoint(ALONE):
        return scope
    key = (authorization_of(scope) or "").encode("latin-1")
    return {**scope, "headers": [*scope["headers"], (b"authorization", key)]}
