"""Send the gateway's requests to the engines: the least loaded engine first, and engines with errors last.

Engines that fail repeatedly get no requests for a short time. A request that an engine may have worked on goes to one
more engine at most, because it may be what ended the first.
"""

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from core.errors import EngineDown, EngineSlow, LoraLoopError, NotLoaded, PromptRefused
from serve.engines.engine_health import FAILURES, EngineHealth
from serve.engines.forwarding_client import HttpClient
from serve.engines.http_response import ConnectionBroken, Response, TimeLimits
from serve.engines.suspects import Suspects, digest

# What an engine answers when it restarted and has lost its adapters.
NOT_HERE = 404
# What an engine or its proxy answers to a gateway without the right key. The client's key is another one.
WRONG_KEY = frozenset({401, 407})
# What an engine or its proxy answers when it takes no request. After 502 the engine may have begun to work on it.
TAKES_NOTHING = frozenset({502, 503}) | WRONG_KEY
BAD_GATEWAY = 502
# A whole answer for which an engine worked longer than this, in seconds, is not asked for a second time.
SHORT_SECONDS = 1.0
LARGEST_BODY = 64 * 1024 * 1024
# Headers of an engine's answer that are passed on.
PASSED_HEADERS = (b"retry-after", b"x-should-retry")

log = logging.getLogger(__name__)


class TooMany(LoraLoopError):
    """Every engine has as many requests as it may."""

    status = 429
    retry = True


class WrongEngineKey(EngineDown):
    """An engine refuses the gateway's key, so it answers nobody."""

    status = 502
    retry = False


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An engine's answer that was read whole. `headers` are those that are passed on."""

    status: int
    content: bytes
    media_type: str | None
    headers: dict[str, str]


class EnginePool:
    """Requests to engines, bounded in number."""

    def __init__(
        self,
        client: HttpClient,
        *,
        max_in_flight: int,
        whole: TimeLimits,
        stream: TimeLimits,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        states: defaultdict[str, EngineHealth] | None = None,
        suspects: Suspects | None = None,
    ) -> None:
        self.client = client
        self.max_in_flight = max_in_flight
        self.whole = whole
        self.stream = stream
        self.clock = clock
        self._draw = draw
        self.suspects = Suspects(clock) if suspects is None else suspects
        self.states: defaultdict[str, EngineHealth] = defaultdict(EngineHealth) if states is None else states

    def post(
        self, engines: Sequence[str], path: str, body: bytes, headers: dict[str, str], *, streamed: bool = False
    ) -> "Call":
        """One request, as a context manager that gives the engine's response. See `Call`."""
        return Call(self, engines, path, body, headers, streamed)

    async def ask(self, engines: Sequence[str], path: str, body: bytes, headers: dict[str, str]) -> WholeAnswer:
        """The whole answer of one request. Raises TooMany, NotLoaded, EngineSlow, EngineDown."""
        try:
            async with self.post(engines, path, body, headers) as answer:
                answer.check_readable()
                passed = {name.decode(): answer.headers[name] for name in PASSED_HEADERS if name in answer.headers}
                return WholeAnswer(answer.status, await answer.read(LARGEST_BODY), answer.content_type, passed)
        except ConnectionBroken as error:
            raise EngineDown("The engine broke off while it answered.", hint="Try again.") from error
        except TimeoutError as error:
            raise EngineSlow("The engine took too long for its answer.", hint="Try again; ask for less.") from error

    def answers(self, engines: Sequence[str]) -> bool:
        """Return whether any of these engines may answer, as far as is known."""
        return any(self.states[engine].failures < FAILURES for engine in engines)

    def in_order(self, engines: Sequence[str]) -> Sequence[str]:
        """The engines in the order in which they are tried. Equal ones are in random order."""
        if len(engines) == 1:
            return engines
        now, states = self.clock(), self.states
        return sorted(engines, key=lambda url: (states[url].sick(now), states[url].total(), self._draw()))

    def refuse(self, *, full: bool, loaded: bool, problem: Exception | None) -> LoraLoopError:
        """The error of a request that no engine took."""
        if full:
            return TooMany("The engines have as many requests as they may.", hint="Wait for the time in Retry-After.")
        if not loaded:
            return NotLoaded("No engine has this version loaded at the moment.", hint="Try again in a few seconds.")
        if isinstance(problem, WrongEngineKey):
            return problem
        error = EngineDown("No engine answers at the moment.", hint="Try again in a few seconds.")
        error.__cause__ = problem
        return error


class Call:
    """An engine's response for the length of a with block; leaving it early tells the engine to stop."""

    __slots__ = (
        "_body",
        "_digest",
        "_engines",
        "_headers",
        "_path",
        "_pool",
        "_response",
        "_state",
        "_streamed",
        "_worked",
    )

    def __init__(
        self, pool: EnginePool, engines: Sequence[str], path: str, body: bytes, headers: dict[str, str], streamed: bool
    ) -> None:
        self._pool = pool
        self._engines = engines
        self._path = path
        self._body = body
        self._digest = digest(body)
        self._headers = headers
        self._streamed = streamed
        self._response: Response | None = None
        self._state: EngineHealth
        # How many engines may have begun to work on the request.
        self._worked = 0

    async def __aenter__(self) -> Response:
        """The first response of an engine that takes the request. Raises TooMany, NotLoaded, EngineSlow, EngineDown."""
        try:
            return await self._find()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ConnectionBroken | TimeoutError) and self._response is not None:
            self._state.failed(self._pool.clock())
            if isinstance(error, ConnectionBroken):
                self._pool.suspects.broke(self._digest)
        self._leave()

    async def _find(self) -> Response:
        pool, full, failed, problem = self._pool, False, False, None
        if pool.suspects.refuses(self._digest):
            raise PromptRefused(
                "Engines ended their connections when they got this request, so it is not sent again.",
                hint="Change the request; the engine's log may say what is wrong with it.",
                headers={"x-should-retry": "false"},
            )
        began = pool.clock()
        for engine in pool.in_order(self._engines):
            state = pool.states[engine]
            if not state.enter(pool.max_in_flight):
                full = True
                continue
            if not state.open(pool.clock()):
                state.leave()
                failed = True
                continue
            if self._worked and not self._may_repeat(began):
                state.leave()
                break
            try:
                response = await self._try(engine, state)
            except ConnectionBroken as error:
                failed, problem = True, problem or error
                continue
            if response is None:
                continue
            if response.status in TAKES_NOTHING:
                failed, problem = True, _wrong_key(engine, response.status) or problem
            elif response.status != NOT_HERE:
                self._body = b""
                return response
            response.close()
        if self._response is not None:
            return self._response  # an error that the second engine could not better
        raise pool.refuse(full=full, loaded=failed, problem=problem)

    def _may_repeat(self, began: float) -> bool:
        """Whether the request may go to another engine although one may have worked on it."""
        return self._worked < 2 and (self._streamed or self._pool.clock() - began < SHORT_SECONDS)

    async def _try(self, engine: str, state: EngineHealth) -> Response | None:
        """The response of an engine at which the request is counted, or None for an error that another may not make."""
        pool, held = self._pool, False
        try:
            limits = pool.stream if self._streamed else pool.whole
            response = await pool.client.post(engine, self._path, self._headers, self._body, limits)
            held = self._take(response, state)
        except ConnectionBroken as error:
            state.failed(pool.clock())
            if error.sent:
                self._worked += 1
                pool.suspects.broke(self._digest)
            raise
        except TimeoutError:
            state.failed(pool.clock())
            raise EngineSlow("The engine did not answer in time.", hint="Try again; ask for less.") from None
        finally:
            if not held:
                state.leave()
        return None if held and response.status >= 500 and self._worked == 1 else response

    def _take(self, response: Response, state: EngineHealth) -> bool:
        """Count a response; return whether it stays open, as the answer or in case no engine has a better one."""
        now = self._pool.clock()
        if response.status in TAKES_NOTHING:
            self._worked += response.status == BAD_GATEWAY
            state.failed(now)
            return False
        state.answered(now, error=response.status >= 500)
        if response.status == NOT_HERE:
            return False
        self._leave()
        self._response, self._state = response, state
        self._worked += response.status >= 500
        return True

    def _leave(self) -> None:
        if self._response is not None:
            self._state.leave()
            # An answer that was read whole has returned its connection already. Any other connection is closed.
            self._response.close()
            self._response = None


def _wrong_key(engine: str, status: int) -> WrongEngineKey | None:
    """The error of an engine that refuses the gateway's key, None for another answer."""
    if status not in WRONG_KEY:
        return None
    log.error("The engine %s refuses the key of this gateway (%d).", engine, status)
    return WrongEngineKey(
        f"An engine refuses the key of the gateway ({status}). Your own key is right.",
        hint="To operators: set LORALOOP_ENGINE_KEY to the engine's key, and restart the gateway.",
    )
