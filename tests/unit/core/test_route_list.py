"""Facts about routes that are declared in one place and built in another."""

from collections.abc import Callable

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from core.route_list import RouteList


class OwnRoute(APIRoute):
    built = 0

    def __init__(self, *values: object, **options: object) -> None:
        OwnRoute.built += 1
        super().__init__(*values, **options)  # type: ignore[arg-type]


def mark(name: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        request.state.marks = [*getattr(request.state, "marks", []), name]

    return check


@pytest.fixture
def made() -> RouteList:
    made = RouteList(prefix="/api", route_class=OwnRoute)

    @made.get("/things/{number}", dependencies=[Depends(mark("own"))])
    def thing(request: Request, number: int) -> dict[str, object]:
        return {"number": number, "marks": request.state.marks}

    @made.post("/things", status_code=202)
    def make() -> dict[str, bool]:
        return {"made": True}

    return made


def test_routes_are_built_once_with_their_own_options_after_the_dependencies_of_all(made: RouteList) -> None:
    OwnRoute.built, app = 0, FastAPI()
    made.add_to(app.router, [Depends(mark("before"))])
    assert OwnRoute.built == 2
    with TestClient(app) as client:
        assert client.get("/api/things/7").json() == {"number": 7, "marks": ["before", "own"]}
        assert client.post("/api/things").status_code == 202
        assert client.get("/api/things").status_code == 405


def test_an_app_that_includes_the_list_has_the_same_routes(made: RouteList) -> None:
    app = FastAPI()
    app.include_router(made, dependencies=[Depends(mark("before"))])
    with TestClient(app) as client:
        assert client.get("/api/things/7").json() == {"number": 7, "marks": ["before", "own"]}
        assert client.post("/api/things").status_code == 202


def test_options_of_the_place_overrule_those_of_a_route(made: RouteList) -> None:
    app = FastAPI()
    made.add_to(app.router, include_in_schema=False, route_class_override=APIRoute)
    assert app.openapi()["paths"] == {}
    assert {type(route) for route in app.routes if getattr(route, "path", "").startswith("/api")} == {APIRoute}
