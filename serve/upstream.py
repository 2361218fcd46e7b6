"""The gateway's way to the engines: one pooled client, the least loaded engine first.

It owns counting what is in flight; it must not look into a body.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from core.errors import EngineDown


class Upstream:
    """Requests to engines, bounded in number."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._load: Counter[str] = Counter()

    @asynccontextmanager
    async def post(
        self, engines: Sequence[str], path: str, body: bytes, request_id: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Posts to the least loaded engine, and to the next when one takes no connection.

        A request goes to another engine only while not a byte of it was taken. Raises EngineDown.
        """
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        for engine in sorted(engines, key=lambda url: self._load[url]):
            self._load[engine] += 1
            try:
                try:
                    response = await self._session.post(engine + path, data=body, headers=headers)
                except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                    continue
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise EngineDown("The engine broke off before it answered.", hint="Try again.") from error
                async with response:
                    yield response
                return
            finally:
                self._load[engine] -= 1
        raise EngineDown("No engine answers at the moment.", hint="Try again in a few seconds.")
