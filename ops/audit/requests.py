"""What the audit log says of a request. Pure: it takes a request's facts and returns an entry."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from core.acts import Act, declared
from core.audit_log import Entry, Outcome

UNAUTHORIZED, FORBIDDEN, NOT_ALLOWED, CONFLICT = 401, 403, 405, 409
# Path parameters that are no id of a thing.
NO_THING = ("model", "verb")


def outcome_of(status: int) -> Outcome:
    """The outcome by an HTTP status."""
    if status < 400:
        return "ok"
    return "refused" if status < 500 else "failed"


def act_of(scope: Mapping[str, Any], status: int) -> Act | None:
    """The act of a request, None if it is none.

    A request without a valid key is an act on every route, and so is one that its key does not permit. A method that
    the route does not take is no act: it is refused before anybody checks the key.
    """
    if status == NOT_ALLOWED:
        return None
    declaration = declared(scope.get("route"))
    act = declaration.act_of(scope.get("path_params", {})) if declaration else None
    if status == UNAUTHORIZED and act is not Act.LOGIN:
        return Act.ACCESS
    return Act.ACCESS if act is None and status == FORBIDDEN else act


def entry_of(
    scope: Mapping[str, Any],
    status: int,
    *,
    now: datetime,
    actor: str,
    models: Collection[str],
    model: str | None = None,
    request_id: str = "",
) -> Entry | None:
    """The entry of an ASGI request, None if it is no act. `model` is its model where the path does not name it.

    Model and thing are recorded only where the request was not refused before anybody checked that they exist: a path
    may have any text. After an error of the server, only a thing that a handler noted is known to exist.
    """
    route, act = scope.get("route"), act_of(scope, status)
    if route is None or act is None:
        return None
    client, params = scope.get("client"), scope.get("path_params", {})
    noted = scope.get("state", {}).get("noted", {})
    exists = status < 400 or status == CONFLICT
    named = noted.get("model") or params.get("model") or model
    in_path = "/".join(str(value) for name, value in params.items() if name not in NO_THING) if exists else ""
    return Entry(
        now,
        act,
        outcome_of(status),
        status,
        actor,
        client[0] if client else "",
        f"{scope['method']} {route.path}",
        named if (exists or status >= 500) and named in models else None,
        (noted.get("thing") if exists or status >= 500 else None) or in_path,
        request_id=request_id,
    )
