"""Routes that are declared in one place and built in another."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.params import Depends
from starlette.routing import BaseRoute


class RouteList(APIRouter):
    """A router whose routes are built once, by the router that they are added to.

    FastAPI builds each route of an `APIRouter` when it is declared and again when an app includes it. Control has 150
    routes, and the first of these two was a third of the time that its app took to make. An app that includes this list
    gets routes as usual.
    """

    def __init__(self, **options: Any) -> None:
        self._declared: list[tuple[str, Any, dict[str, Any]]] = []
        self._built: list[BaseRoute] = []
        super().__init__(**options)

    @property
    def routes(self) -> list[BaseRoute]:  # type: ignore[override]
        """The routes, built on the first use."""
        declared, self._declared = self._declared, []
        for path, endpoint, options in declared:
            super().add_api_route(path, endpoint, **options)
        return self._built

    @routes.setter
    def routes(self, routes: list[BaseRoute]) -> None:
        self._built = routes

    @property
    def endpoints(self) -> list[Any]:
        """The functions of the routes, in the order of their declaration."""
        return [endpoint for _, endpoint, _ in self._declared]

    def add_api_route(self, path: str, endpoint: Any, **options: Any) -> None:
        """Declare a route. Options are those of `APIRouter.add_api_route`."""
        self._declared.append((path, endpoint, options))

    def add_to(self, router: APIRouter, dependencies: Sequence[Depends] = (), **options: Any) -> None:
        """Build the routes in a router. Dependencies go before those of a route; options overrule a route's own."""
        for path, endpoint, own in self._declared:
            before = [*dependencies, *(own.get("dependencies") or ())]
            all_options: dict[str, Any] = (
                {"route_class_override": self.route_class} | own | options | {"dependencies": before}
            )
            router.add_api_route(f"{self.prefix}{path}", endpoint, **all_options)
