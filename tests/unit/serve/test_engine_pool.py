"""Facts about the gateway's way to the engines: order, bounds, and engines that are left alone for a while."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import EngineDown, EngineSlow
from serve.engines.http_response import ConnectionBroken
from serve.engines.pool import ALONE_SECONDS, EnginePool, TooMany


class Response:
    """What an engine answers."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.closed = status, False

    def close(self) -> None:
        self.closed = True


class Session:
    """Engines by URL: each answers with a status, or raises."""

    def __init__(self, **engines: Any) -> None:
        self.engines, self.tried = engines, list[str]()

    async def post(self, name: str, *_: Any) -> Response:
        self.tried.append(name)
        found = self.engines[name]
        if isinstance(found, int):
            return Response(found)
        raise found


class Scene:
    """An upstream with a clock of its own."""

    def __init__(self, max_in_flight: int = 8, **engines: Any) -> None:
        self.now, self.session = 0.0, Session(**engines)
        self.upstream = EnginePool(self.session, max_in_flight=max_in_flight, clock=lambda: self.now)  # type: ignore[arg-type]

    async def ask(self, hold: Callable[[], Any] | None = None) -> int:
        async with self.upstream.post(list(self.session.engines), "/p", b"", {}) as response:
            if hold:
                await hold()
            return response.status

    def asked(self) -> list[str]:
        self.session.tried, tried = [], self.session.tried
        return tried


@pytest.mark.parametrize(
    "problem",
    [
        ConnectionBroken("gone"),
        404,
        503,
    ],
)
def test_the_next_engine_gets_the_request_when_one_takes_nothing(problem: Any) -> None:
    scene = Scene(dead=problem, well=200)
    assert asyncio.run(scene.ask()) == 200 and scene.asked() == ["dead", "well"]


def test_an_engine_that_is_too_slow_is_not_asked_elsewhere_again() -> None:
    scene = Scene(slow=TimeoutError(), well=200)
    with pytest.raises(EngineSlow):
        asyncio.run(scene.ask())
    assert scene.asked() == ["slow"]


def test_the_least_loaded_engine_gets_the_request_first() -> None:
    scene = Scene(a=200, b=200)

    async def two() -> None:
        await scene.ask(hold=scene.ask)

    asyncio.run(two())
    assert scene.asked() == ["a", "b"]


def test_an_engine_that_failed_three_times_is_left_alone_then_tried_by_one() -> None:
    scene = Scene(dead=ConnectionBroken("gone"), well=200)
    for _ in range(4):
        asyncio.run(scene.ask())
    assert scene.asked() == ["dead", "well", "dead", "well", "dead", "well", "well"]
    scene.now += ALONE_SECONDS
    asyncio.run(scene.ask())
    asyncio.run(scene.ask())
    assert scene.asked() == ["dead", "well", "well"]
    scene.now += ALONE_SECONDS
    scene.session.engines["dead"] = 200
    for _ in range(2):
        asyncio.run(scene.ask())
    assert scene.asked() == ["dead", "dead"]


def test_nobody_waits_when_all_are_left_alone_or_full() -> None:
    scene = Scene(dead=ConnectionBroken("gone"))
    for _ in range(4):
        with pytest.raises(EngineDown):
            asyncio.run(scene.ask())
    assert scene.asked() == ["dead"] * 3
    full = Scene(max_in_flight=1, only=200)
    with pytest.raises(TooMany):
        asyncio.run(full.ask(hold=full.ask))
    assert asyncio.run(full.ask()) == 200


def test_without_an_engine_that_holds_the_version_it_is_down() -> None:
    with pytest.raises(EngineDown):
        asyncio.run(Scene().ask())


def test_a_load_ends_however_the_request_does() -> None:
    scene = Scene(max_in_flight=1, only=200)

    async def broken() -> None:
        raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            asyncio.run(scene.ask(hold=broken))
    scene.session.engines["only"] = asyncio.CancelledError()
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(scene.ask())
    scene.session.engines["only"] = 200
    assert asyncio.run(scene.ask()) == 200
