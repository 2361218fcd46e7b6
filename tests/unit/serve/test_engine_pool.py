"""Facts about the gateway's way to the engines: order, bounds, and engines that are left alone for a while."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import EngineDown, EngineSlow, NotLoaded, PromptRefused
from serve.engines.engine_health import ALONE_SECONDS
from serve.engines.http_response import ConnectionBroken, TimeLimits
from serve.engines.pool import EnginePool, TooMany, WrongEngineKey
from serve.engines.suspects import REMEMBERED_SECONDS
from serve.gateway.outcome import of_error


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
        self.opened = list[Response]()

    async def post(self, name: str, *_: Any) -> Response:
        self.tried.append(name)
        found = self.engines[name]
        if isinstance(found, int):
            self.opened.append(Response(found))
            return self.opened[-1]
        raise found


def broken(*, sent: bool) -> ConnectionBroken:
    error = ConnectionBroken("gone")
    error.sent = sent
    return error


LIMITS = TimeLimits(1, 1, 1, 1)


class Scene:
    """An upstream with a clock of its own. Equal engines are tried in the order of their names here."""

    def __init__(self, max_in_flight: int = 8, draw: Callable[[], float] = lambda: 0.0, **engines: Any) -> None:
        self.now, self.session = 0.0, Session(**engines)
        self.upstream = EnginePool(
            self.session,  # type: ignore[arg-type]
            max_in_flight=max_in_flight,
            whole=LIMITS,
            stream=LIMITS,
            clock=lambda: self.now,
            draw=draw,
        )

    async def ask(self, hold: Callable[[], Any] | None = None, *, body: bytes = b"", streamed: bool = False) -> int:
        async with self.upstream.post(list(self.session.engines), "/p", body, {}, streamed=streamed) as response:
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
        401,
        404,
        407,
        503,
    ],
)
def test_the_next_engine_gets_the_request_when_one_takes_nothing(problem: Any) -> None:
    scene = Scene(dead=problem, well=200)
    assert asyncio.run(scene.ask()) == 200 and scene.asked() == ["dead", "well"]


@pytest.mark.parametrize("status", [401, 407])
def test_an_engine_that_refuses_the_key_of_the_gateway_is_no_fault_of_the_clients_key_or_of_the_version(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(wrong=status, down=ConnectionBroken("gone"))
    with pytest.raises(WrongEngineKey, match=f"refuses the key of the gateway .{status}.") as refused:
        asyncio.run(scene.ask())
    assert (refused.value.status, refused.value.retry) == (502, False)
    assert "LORALOOP_ENGINE_KEY" in (refused.value.hint or "")
    assert of_error(refused.value).cause == "unreachable"
    assert all(response.closed for response in scene.session.opened)
    assert "The engine wrong refuses the key of this gateway" in caplog.text


def test_an_engine_with_the_right_key_answers_for_one_with_a_wrong_key() -> None:
    scene = Scene(wrong=401, well=200)
    for _ in range(4):
        assert asyncio.run(scene.ask()) == 200
    assert scene.asked() == ["wrong", "well", "wrong", "well", "wrong", "well", "well"]


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
    assert all(response.closed for response in scene.session.opened)


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


@pytest.mark.parametrize("engines", [{}, {"a": 404}, {"a": 404, "b": 404}])
def test_a_version_that_no_engine_has_is_not_an_engine_that_does_not_answer(engines: dict[str, Any]) -> None:
    with pytest.raises(NotLoaded):
        asyncio.run(Scene(**engines).ask())
    with pytest.raises(EngineDown) as found:
        asyncio.run(Scene(**engines, dead=broken(sent=False)).ask())
    assert not isinstance(found.value, NotLoaded)


def test_equal_engines_get_equal_shares() -> None:
    scene = Scene(draw=random.Random(0).random, a=200, b=200)
    for _ in range(400):
        asyncio.run(scene.ask())
    assert 150 < scene.asked().count("a") < 250


def test_an_engine_that_answers_with_errors_is_asked_last_and_its_errors_are_asked_for_elsewhere() -> None:
    scene = Scene(bad=500, well=200)
    for _ in range(50):
        assert asyncio.run(scene.ask()) == 200
    assert scene.asked().count("bad") < 5
    scene.now += 60  # errors are forgotten
    assert asyncio.run(scene.ask()) == 200 and scene.asked() == ["bad", "well"]
    assert scene.upstream.states["bad"].load == scene.upstream.states["well"].load == 0
    assert all(response.closed for response in scene.session.opened)


def test_an_error_that_every_engine_gives_is_passed_on_after_the_second() -> None:
    scene = Scene(a=500, b=500, c=500)
    assert asyncio.run(scene.ask()) == 500 and len(scene.asked()) == 2
    assert asyncio.run(Scene(a=500, dead=broken(sent=False)).ask()) == 500
    assert asyncio.run(Scene(a=500).ask()) == 500
    assert all(response.closed for response in scene.session.opened)


@pytest.mark.parametrize("end", [TimeoutError(), asyncio.CancelledError(), KeyError()])
def test_an_error_that_was_kept_is_let_go_when_the_second_engine_raises(end: BaseException) -> None:
    scene = Scene(a=500, b=end)
    with pytest.raises((EngineSlow, asyncio.CancelledError, KeyError)):
        asyncio.run(scene.ask())
    assert scene.upstream.states["a"].load == 0 and scene.session.opened[0].closed


@pytest.mark.parametrize("end", [broken(sent=True), 502])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_that_ends_engines_goes_to_two_of_them(end: Any, streamed: bool) -> None:
    scene = Scene(a=end, b=end, c=end, d=end)
    with pytest.raises(EngineDown):
        asyncio.run(scene.ask(streamed=streamed))
    assert scene.asked() == ["a", "b"]


def test_a_request_that_ended_engines_is_not_sent_again_for_a_while() -> None:
    scene = Scene(a=broken(sent=True), b=broken(sent=True), c=200)
    with pytest.raises(EngineDown):
        asyncio.run(scene.ask(body=b"poison"))
    scene.asked()
    scene.session.engines = {"c": 200}
    with pytest.raises(PromptRefused) as refused:
        asyncio.run(scene.ask(body=b"poison"))
    assert scene.asked() == [] and refused.value.headers == {"x-should-retry": "false"}
    assert asyncio.run(scene.ask(body=b"another")) == 200
    scene.now += REMEMBERED_SECONDS
    assert asyncio.run(scene.ask(body=b"poison")) == 200


def test_a_stream_that_ends_an_engine_in_the_middle_counts_too() -> None:
    scene = Scene(a=200)

    async def breaks() -> None:
        raise broken(sent=True)

    for _ in range(2):
        with pytest.raises(ConnectionBroken):
            asyncio.run(scene.ask(hold=breaks, body=b"poison", streamed=True))
    with pytest.raises(PromptRefused):
        asyncio.run(scene.ask(body=b"poison", streamed=True))


def test_a_whole_answer_that_an_engine_worked_on_for_long_is_not_begun_again() -> None:
    scene = Scene(a=broken(sent=True), b=200)
    real = scene.session.post

    async def slow(name: str, *rest: Any) -> Response:
        scene.now += 5
        return await real(name, *rest)

    scene.session.post = slow  # type: ignore[method-assign]
    with pytest.raises(EngineDown):
        asyncio.run(scene.ask())
    assert scene.asked() == ["a"]
    assert asyncio.run(scene.ask(streamed=True)) == 200


def test_an_engine_that_a_probe_does_not_reach_costs_no_request_its_time() -> None:
    scene = Scene(gone=broken(sent=False), well=200)
    scene.upstream.states["gone"].probed(scene.now, well=False)
    assert asyncio.run(scene.ask()) == 200 and scene.asked() == ["well"]
    assert scene.upstream.answers(["gone"]) is False and scene.upstream.answers(["gone", "well"])
    scene.upstream.states["gone"].probed(scene.now, well=True)
    assert scene.upstream.answers(["gone"])


def test_a_load_ends_however_the_request_does() -> None:
    scene = Scene(max_in_flight=1, only=200)

    async def raises() -> None:
        raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            asyncio.run(scene.ask(hold=raises))
    scene.session.engines["only"] = asyncio.CancelledError()
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(scene.ask())
    scene.session.engines["only"] = 200
    assert asyncio.run(scene.ask()) == 200
