"""The routes under /api/keys: make, list, rotate and revoke API keys.

Handlers are thin: they parse, call the keyring, and render. A key is in the answer that makes it and nowhere else.
"""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from core.acts import Act, act, no_act, note
from core.api_key_store import IssuedKey, NewKey
from core.api_keys import GRANTABLE, Limits, Scope
from core.http import JsonBody
from core.route_list import RouteList
from ops.control import Control
from ops.views import View

YEARS_10_S = 10 * 366 * 86_400
Limit = Annotated[int | None, Field(ge=1, le=1_000_000_000)]
NO_STORE = {"Cache-Control": "no-store"}


def _granted(value: Any) -> Any:
    """Raise an error with the scopes that a key can have: `internal` is not one of them."""
    if value not in GRANTABLE:
        raise PydanticCustomError("enum", "", {"expected": ", ".join(repr(str(scope)) for scope in GRANTABLE)})
    return value


Granted = Annotated[
    Scope, BeforeValidator(_granted), WithJsonSchema({"type": "string", "enum": [str(scope) for scope in GRANTABLE]})
]


class Make(BaseModel):
    """A key to be made; models of null means all of them, expires_in_s of null never."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=128)
    scopes: list[Granted] = Field(min_length=1, max_length=len(Scope))
    models: list[str] | None = Field(None, min_length=1, max_length=1000)
    expires_in_s: float | None = Field(None, gt=0, le=YEARS_10_S)
    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    concurrent: Limit = None


class Rotate(BaseModel):
    """How long the old secret still opens."""

    model_config = ConfigDict(extra="forbid")
    grace_s: float = Field(0, ge=0, le=YEARS_10_S)


def create_router(control: Control) -> RouteList:
    """The routes; each call reaches the gateways within their long poll."""
    router = RouteList(prefix="/api/keys")
    keyring = control.keyring

    def shown_once(made: IssuedKey, status: int) -> JSONResponse:
        row = keyring.one(made.id)
        return JSONResponse(jsonable_encoder({"id": made.id, "key": made.key} | row), status, NO_STORE)

    @router.get("")
    @no_act("It shows no secrets.")
    def keys() -> list[View]:
        """All keys, without their secrets."""
        return keyring.all()

    @router.post("")
    @act(Act.KEYS_CREATE)
    def make(asked: Annotated[Make, Depends(JsonBody(Make))], request: Request) -> JSONResponse:
        """Make a key; the answer holds its secret, this once."""
        others = control.settings.gateway.passed_on
        for model in asked.models or ():
            if model not in others:
                control.promotion.route(model)
        wanted = NewKey(
            asked.name,
            tuple(dict.fromkeys(asked.scopes)),
            tuple(asked.models) if asked.models else None,
            timedelta(seconds=asked.expires_in_s) if asked.expires_in_s else None,
            Limits(asked.requests_per_minute, asked.tokens_per_minute, asked.concurrent),
        )
        made = keyring.make(wanted, request.state.key_id)
        note(request, thing=made.id)
        return shown_once(made, 201)

    @router.post("/{identity}/rotate")
    @act(Act.KEYS_ROTATE)
    def rotate(identity: str, asked: Annotated[Rotate, Depends(JsonBody(Rotate))]) -> JSONResponse:
        """Give a key a new secret; the answer holds it, this once."""
        return shown_once(keyring.rotate(identity, timedelta(seconds=asked.grace_s)), 200)

    @router.post("/{identity}/revoke")
    @act(Act.KEYS_REVOKE)
    def revoke(identity: str) -> View:
        """End a key permanently."""
        keyring.revoke(identity)
        return keyring.one(identity)

    return router
