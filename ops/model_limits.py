"""Hold a key that is limited to models to these models, on every route of control.

A route names its model in its path, in a query parameter that it declares, or by the id of something that belongs to
one model. Every other route is about all models, and refuses the key, unless it shows only the key's own models.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from core.db import decisions, fine_tuning, quarantines, runs, snapshots
from core.db.store import Store
from core.errors import Forbidden

Find = Callable[[Store, str], Mapping[str, Any] | None]
# How to find what an id names, by the word before the id in the route's path.
BY_ID: dict[str, Find] = {
    "runs": lambda store, identity: runs.find(store, id=identity),
    "promotions": lambda store, identity: decisions.find(store, id=identity),
    "quarantine": lambda store, identity: quarantines.find(store, id=identity),
    "files": lambda store, identity: fine_tuning.find_file(store, id=identity),
    "jobs": lambda store, identity: fine_tuning.find_job(store, id=identity),
    "snapshots": lambda store, identity: snapshots.of_run_or_hash(store, identity=identity),
}


SHOWS_OWN = "shows_own_models"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def shows_own_models(endpoint: Endpoint) -> Endpoint:
    """Declare that a route about all models shows a key only those that the key may use."""
    setattr(endpoint, SHOWS_OWN, True)
    return endpoint


def require_models(store: Store) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency for after the key's check: it refuses a key that may not use the request's model."""

    async def check(request: Request) -> None:
        refuse_other_models(store, request)

    return check


def refuse_other_models(store: Store, request: Request) -> None:
    """Raise Forbidden if the request's key is limited to models and the request is not about one of them alone."""
    permit = request.state.admission
    if permit.models is None:
        return
    model = model_of(store, request)
    if model is None and getattr(request.scope["route"].endpoint, SHOWS_OWN, False):
        return
    if model is None:
        names = ", ".join(permit.models)
        raise Forbidden(
            f"This key is limited to {names}, and this route is about all models.",
            hint="Name the model in the path or as ?model= where the route takes it, or use a key without --model.",
        )
    permit.require_model(model)


def model_of(store: Store, request: Request) -> str | None:
    """Return the model that a request is about, None for one about all models."""
    route = request.scope["route"]
    if "model" in request.path_params:
        return request.path_params["model"]
    if "identity" in request.path_params:
        kind = route.path.partition("/{identity}")[0].rpartition("/")[2]
        found = BY_ID[kind](store, request.path_params["identity"]) if kind in BY_ID else None
        return found["model"] if found else None
    return model_in_query(request)


def model_in_query(request: Request) -> str | None:
    """Return the model in the query of a request, None if there is none or the route does not declare it."""
    named = request.query_params.get("model")
    return named if named and "model" in _query_names(request.scope["route"].dependant) else None


def _query_names(dependant: Dependant) -> Iterator[str]:
    """The query parameters that a route and its dependencies declare."""
    for parameter in dependant.query_params:
        kind = parameter.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from kind.model_fields
        else:
            yield parameter.alias
    for dependency in dependant.dependencies:
        yield from _query_names(dependency)
