"""Send the gateway's requests to the engines: the least loaded engine first.

Engines that fail repeatedly get no requests for a short time.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from core.errors import EngineDown, EngineSlow, LoraLoopError
from serve.engines.forwarding_client import HttpClient
from serve.engines.http_response import ConnectionBroken, Response

# After this many failures in a row, an engine gets no requests for ALONE_SECONDS. Then one request tries it.
FAILURES = 3
ALONE_SECONDS = 2.0
# What an engine may answer when it restarted and has lost its adapters, or is about to end.
NOT_HERE = frozenset({404, 502, 503})


class TooMany(LoraLoopError):
    """Every engine has as many requests as it may."""

    status = 429
    retry = True


@dataclass(slots=True)
class CircuitBreaker:
    """The state of one engine in a gateway: load, failures and pause."""

    load: int = 0
    failures: int = 0
    alone_until: float = 0.0

    def succeeded(self) -> None:
        """It answered."""
        self.failures = 0

    def failed(self, now: float) -> None:
        """It did not; the circuit opens at the third time, and again with each further one."""
        self.failures += 1
        if self.failures >= FAILURES:
            self.alone_until = now + ALONE_SECONDS

    def open(self, now: float) -> bool:
        """Return whether the engine may get a request. After the pause, only the first request is let through."""
        if self.failures < FAILURES:
            return True
        if now < self.alone_until:
            return False
        self.alone_until = now + ALONE_SECONDS
        return True


class EnginePool:
    """Requests to engines, bounded in number."""

    def __init__(self, client: HttpClient, *, max_in_flight: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self.max_in_flight = max_in_flight
        self._clock = clock
        self._lanes: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)

    def post(self, engines: Sequence[str], path: str, body: bytes, headers: dict[str, str]) -> "Call":
        """One request, as a context manager that gives the engine's response. See `Call`."""
        return Call(self, engines, path, body, headers)

    async def send(
        self, engines: Sequence[str], path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[Response, CircuitBreaker]:
        """The first response of an engine that takes the request, the least loaded first, with its lane.

        A request goes to the next engine only while not a byte of an answer came. Raises TooMany, EngineSlow
        and EngineDown.
        """
        now, full, lanes = self._clock(), False, self._lanes
        problem: Exception | None = None
        for engine in engines if len(engines) == 1 else sorted(engines, key=lambda url: lanes[url].load):
            lane = lanes[engine]
            if lane.load >= self.max_in_flight:
                full = True
                continue
            if not lane.open(now):
                continue
            lane.load += 1
            try:
                response = await self._client.post(engine, path, headers, body)
            except ConnectionBroken as error:
                lane.load -= 1
                lane.failed(self._clock())
                problem = error
                continue
            except TimeoutError:
                lane.load -= 1
                lane.failed(self._clock())
                raise EngineSlow("The engine did not answer in time.", hint="Try again; ask for less.") from None
            except BaseException:
                lane.load -= 1
                raise
            if response.status in NOT_HERE:
                lane.load -= 1
                response.close()
                continue
            lane.succeeded()
            return response, lane
        if full:
            raise TooMany("The engines have as many requests as they may.", hint="Wait for the time in Retry-After.")
        raise EngineDown("No engine answers at the moment.", hint="Try again in a few seconds.") from problem


class Call:
    """An engine's response for the length of a with block; leaving it early tells the engine to stop."""

    __slots__ = ("_arguments", "_lane", "_response", "_upstream")

    def __init__(
        self, upstream: EnginePool, engines: Sequence[str], path: str, body: bytes, headers: dict[str, str]
    ) -> None:
        self._upstream = upstream
        self._arguments = (engines, path, body, headers)
        self._response: Response
        self._lane: CircuitBreaker

    async def __aenter__(self) -> Response:
        self._response, self._lane = await self._upstream.send(*self._arguments)
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane.load -= 1
        # An answer that was read whole has returned its connection already. Any other connection is closed.
        self._response.close()
