"""One HTTP answer of an engine: its status first, then its body in pieces, with a bound on unread bytes."""

import asyncio
from typing import Protocol

# An answer that nobody reads stops its engine at this size, so that memory is bounded with slow clients.
HIGH_BYTES = 256 * 1024


class ConnectionBroken(ConnectionError):
    """An engine could not be reached, ended the connection or sent something other than HTTP."""


class Carrier(Protocol):
    """The connection that carries an answer."""

    def pause(self) -> None:
        """Stop reading from the engine."""

    def resume(self) -> None:
        """Continue reading."""

    def abort(self) -> None:
        """End the connection."""

    def done_with(self, response: "Response") -> None:
        """Keep the connection for the next request, or end it."""


class Response:
    """An answer on its way: the status first, then the body as it comes."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_framed",
        "_loop",
        "_paused",
        "_problem",
        "_size",
        "_timer",
        "_waiter",
        "complete",
        "content_type",
        "status",
    )

    def __init__(self, connection: Carrier, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.status = 0
        self.content_type: str | None = None
        self.complete = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._framed = self._paused = False
        self._problem: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._connection = connection
        self._loop = loop
        self._timer = loop.call_later(timeout_s, self._time_out)

    async def head(self) -> None:
        """Waits for the status."""
        while not self.status:
            await self._more()

    async def read(self) -> bytes:
        """The whole body, or what is left of it."""
        pieces = []
        while piece := await self.readany():
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readany(self) -> bytes:
        """What has come since the last time, waiting for something; nothing at the end."""
        while not self._chunks:
            if self.complete:
                return b""
            await self._more()
        found = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._unpause()
        return found

    def close(self) -> None:
        """Gives the connection back, or ends it if the answer was not whole. Twice does no harm."""
        self._timer.cancel()
        self._unpause()
        self._connection.done_with(self)

    def take_header(self, name: bytes, value: bytes) -> None:
        """A header, its name in small letters."""
        if name == b"content-type":
            self.content_type = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def take_status(self, status: int) -> None:
        """The end of a head; 1xx comes before the real one."""
        if status >= 200:
            self.status = status
            self._wake()

    def take_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._chunks.append(piece)
        self._size += len(piece)
        if self._size > HIGH_BYTES and not self._paused:
            self._paused = True
            self._connection.pause()
        self._wake()

    def finish(self) -> None:
        """The end of a message."""
        if self.status:
            self.complete = True
            self._wake()

    def ended(self, problem: Exception | None) -> None:
        """The end of the connection, which is also the end of a body that has no length."""
        if self.status and not self._framed and problem is None:
            self.finish()
        elif not self.complete:
            self.fail(ConnectionBroken("The engine ended the connection."))

    def fail(self, problem: Exception) -> None:
        """Fail the answer: its reader gets the pieces that arrived, and then this error."""
        self._problem = self._problem or problem
        self._wake()

    def _time_out(self) -> None:
        self.fail(TimeoutError("The engine's answer took too long."))
        self._connection.abort()

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            self._connection.resume()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        if self._problem is not None:
            raise self._problem
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
