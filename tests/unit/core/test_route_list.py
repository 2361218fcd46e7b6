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


def test_routes_have_their_own_options_after_the_dependencies_of_all(made: RouteList) -> None:
    app = FastAPI()
    made.add_to(app.router, [Depends(mark("before"))])
    with TestClient(app) as client:
        assert client.get("/api/things/7").json() == {"number": 7, "marks": ["before", "own"]}
        assert client.post("/api/things").status_code == 202
        assert client.get("/api/things").status_code == 405


def test_each_route_is_built_once_when_it_is_first_used(made: RouteList) -> None:
    OwnRoute.built, app = 0, FastAPI()
    made.add_to(app.router, [Depends(mark("before"))])
    with TestClient(app) as client:
        assert client.get("/api/nothing").status_code == 404
        assert client.delete("/api/things").status_code == 405
        assert OwnRoute.built == 0
        for number in (7, 8):
            assert client.get(f"/api/things/{number}").json()["number"] == number
        assert OwnRoute.built == 1
        assert client.get("/api/things/seven").status_code == 422


def test_a_route_that_is_not_built_yet_has_all_attributes_of_its_class_and_no_others(made: RouteList) -> None:
    app = FastAPI()
    made.add_to(app.router, [Depends(mark("before"))])
    (reading, making) = (route for route in app.routes if isinstance(route, OwnRoute))
    assert len(reading.dependant.dependencies) == 2
    assert making.status_code == 202
    assert not hasattr(making, "nothing")
    assert app.url_path_for("thing", number="7") == "/api/things/7"


def test_the_document_describes_routes_that_are_not_built_yet(made: RouteList) -> None:
    app = FastAPI()
    made.add_to(app.router)
    assert set(app.openapi()["paths"]) == {"/api/things/{number}", "/api/things"}


def test_an_error_in_a_declaration_is_raised_on_the_first_use() -> None:
    app, made = FastAPI(), RouteList()

    @made.get("/wrong", response_model=object(), status_code=204)
    def wrong() -> None:
        """It declares a body for an answer that has none."""

    made.add_to(app.router)
    with pytest.raises(AssertionError, match="must not have a response body"):
        app.openapi()


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
    found = [route for route in app.routes if getattr(route, "path", "").startswith("/api")]
    assert len(found) == 2
    assert not any(isinstance(route, OwnRoute) for route in found)
