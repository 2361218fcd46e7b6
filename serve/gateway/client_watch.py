"""Watch the client of one request: whether it leaves, and whether it stops reading its answer."""

import asyncio
from typing import Any

from starlette.types import Message, Receive, Send

from serve.gateway.outcome import CLIENT_LEFT, CLIENT_STALLED, Outcome

WATCH_SECONDS = 0.05


class ClientWatch:
    """Cancels a request's work when its client leaves or stops reading: an answer that nobody reads costs an engine.

    It begins after a moment, because a short answer is over by then and a task would be a tenth of its cost.
    """

    def __init__(self, receive: Receive, send: Send, work: "asyncio.Task[Any]", stalled_s: float) -> None:
        self.outcome: Outcome | None = None
        # Odd while a message is being sent. Who sends each chunk of a stream counts itself: a call would take 5 µs.
        self.steps = 0
        self.client = send
        self._receive = receive
        self._work = work
        self._stalled_s = stalled_s
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._checked = 0  # the steps at the last check
        self._timer = self._loop.call_later(WATCH_SECONDS, self._begin)

    async def send(self, message: Message) -> None:
        """Send one message. While the client does not read, this waits."""
        self.steps += 1
        await self.client(message)
        self.steps += 1

    def end(self) -> None:
        """Watches no longer."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._wait())
        self._timer = self._loop.call_later(self._stalled_s, self._check)

    def _check(self) -> None:
        if self.steps % 2 and self.steps == self._checked:
            self._stop(CLIENT_STALLED)
            return
        self._checked = self.steps
        self._timer = self._loop.call_later(self._stalled_s, self._check)

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._stop(CLIENT_LEFT)

    def _stop(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self._work.cancel()
