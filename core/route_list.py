"""Routes that are declared in one place and built in another."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, compile_path, get_name


@cache
def deferred(route_class: type[APIRoute]) -> type[APIRoute]:
    """Return a class of routes that are matched at once and built on their first use.

    To build a route takes 2 ms, for its dependencies and for the validators of its parameters. Control has 170 routes.
    An error in a declaration is raised on the first use; the OpenAPI document uses every route for programs.
    """

    class DeferredRoute(route_class):
        """What is needed to match a request; everything else when something asks for it."""

        def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
            self.path, self.endpoint = path, endpoint
            self.path_regex, self.path_format, self.param_convertors = compile_path(path)
            self.name = options.get("name") or get_name(endpoint)
            self.methods = {method.upper() for method in options.get("methods") or ["GET"]}
            self.include_in_schema = options["include_in_schema"]
            self._options = options

        def __getattr__(self, name: str) -> Any:
            # Python calls this for attributes that are not there yet.
            if "_options" not in self.__dict__ or name.startswith("__"):
                raise AttributeError(name)
            # Another thread may do the same: neither sees a route that is built in part.
            built = route_class(self.path, self.endpoint, **self._options)
            if name not in built.__dict__:
                raise AttributeError(name)
            self.__dict__.update(built.__dict__)
            return built.__dict__[name]

    return DeferredRoute


class RouteList(APIRouter):
    """A router whose routes are built once, by the router that they are added to, and there on their first use.

    FastAPI builds each route of an `APIRouter` when it is declared and again when an app includes it. An app that
    includes this list gets routes as usual.
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
        """Give a router the routes. Dependencies go before those of a route; options overrule a route's own."""
        for path, endpoint, own in self._declared:
            all_options: dict[str, Any] = {"route_class_override": self.route_class} | own | options
            all_options["dependencies"] = [*dependencies, *(own.get("dependencies") or ())]
            all_options["route_class_override"] = deferred(all_options["route_class_override"])
            router.add_api_route(f"{self.prefix}{path}", endpoint, **all_options)
