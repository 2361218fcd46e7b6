"""Ask each engine once per second whether it is well, so that `/ready` says so and no request waits for a dead one."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import aiohttp

from serve.engines.pool import EnginePool

log = logging.getLogger(__name__)

PROBE_SECONDS = 1.0
ANSWER_SECONDS = 5.0


class EngineProbe:
    """Has the engines that are well. `engines` gives the URLs of now, `headers` are those of each question."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        engines: Callable[[], Sequence[str]],
        pool: EnginePool,
        headers: Mapping[str, str],
    ) -> None:
        self._session = session
        self._engines = engines
        self._pool = pool
        self._headers = headers
        self._well: dict[str, bool] = {}
        self._said = True

    @property
    def answers(self) -> bool:
        """Whether an engine is well; False before the first question was answered."""
        return any(self._well.get(engine) and self._pool.answers([engine]) for engine in self._engines())

    async def run(self) -> None:
        """Asks for as long as it runs."""
        while True:
            engines = self._engines()
            found = await asyncio.gather(*map(self._ask, engines))
            self._well = dict(zip(engines, found, strict=True))
            self._tell()
            await asyncio.sleep(PROBE_SECONDS)

    async def _ask(self, engine: str) -> bool:
        """Whether an engine says that it is well. One that cannot be reached gets no requests until it can."""
        state, timeout = self._pool.states[engine], aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with self._session.get(f"{engine}/health", headers=self._headers, timeout=timeout) as answer:
                status = answer.status
        except TimeoutError:
            # One that works on requests may be too busy to say so.
            return state.load > 0 and self._well.get(engine, False)
        except aiohttp.ClientError:
            state.probed(self._pool.clock(), well=False)
            return False
        state.probed(self._pool.clock(), well=True)
        return status < 500

    def _tell(self) -> None:
        if self.answers != self._said:
            self._said = not self._said
            log.warning("engines answer again" if self._said else "no engine answers; /ready is false")
