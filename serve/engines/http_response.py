"""One HTTP answer of an engine: its status first, then its body in pieces, with a bound on unread bytes."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from core.errors import EngineDown

# An answer that nobody reads stops its engine at this size, so that memory is bounded with slow clients.
HIGH_BYTES = 256 * 1024
# Timers of the event loop may run this early, in seconds.
CLOCK_STEP = 0.002
# The headers of an answer that are kept, by their names in small letters.
KEPT_HEADERS = frozenset((b"content-type", b"content-encoding", b"retry-after", b"x-should-retry"))
FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class ConnectionBroken(ConnectionError):
    """An engine could not be reached, ended the connection or sent something other than HTTP.

    `sent` says whether the engine may have begun to work on the request.
    """

    sent = False


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long an engine may take, in seconds.

    `first_byte` is for the first piece of the body, `gap` for each later piece, and `total` for the whole answer. While
    a slow client keeps the gateway from reading, `gap` does not run.
    """

    connect: float
    first_byte: float
    gap: float
    total: float


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
        "_began",
        "_chunks",
        "_connection",
        "_framed",
        "_heard",
        "_in_head",
        "_limits",
        "_loop",
        "_paused",
        "_problem",
        "_size",
        "_timer",
        "_waiter",
        "_waiting_since",
        "complete",
        "engine",
        "headers",
        "status",
    )

    def __init__(self, connection: Carrier, loop: asyncio.AbstractEventLoop, limits: TimeLimits) -> None:
        self.status = 0
        self.engine = ""
        self.headers: dict[bytes, str] = {}
        self.complete = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._framed = self._paused = self._heard = False
        self._in_head = True
        self._problem: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._connection = connection
        self._loop = loop
        self._limits = limits
        self._began = self._waiting_since = loop.time()
        self._timer = loop.call_later(min(limits.first_byte, limits.gap, limits.total), self._check_time)

    @property
    def content_type(self) -> str | None:
        """The media type of the body, if the engine named it."""
        return self.headers.get(b"content-type")

    def check_readable(self) -> None:
        """Raises EngineDown for an answer that no client asked for: compressed, or a redirection of a proxy."""
        encoding = self.headers.get(b"content-encoding", "identity")
        if encoding.lower() != "identity":
            raise EngineDown(
                f"The engine's answer is compressed with {encoding[:64]}, although the gateway asked for none.",
                hint="Turn compression off in the proxy before the engine.",
            )
        if 300 <= self.status < 400:
            raise EngineDown(
                f"The engine answers with a redirection ({self.status}).",
                hint="Correct engine.urls: it needs no redirection.",
            )

    def more(self) -> asyncio.Future[None]:
        """What its reader waits for: the status, a piece of the body, or the end. Raises the problem that it has."""
        if self._problem is not None:
            raise self._problem
        self._waiting_since = self._loop.time()
        self._waiter = self._loop.create_future()
        return self._waiter

    async def read(self, limit: int | None = None) -> bytes:
        """The whole body, or what is left of it. Raises ConnectionBroken for one of more than `limit` bytes."""
        pieces, size = [], 0
        while True:
            if piece := self.take():
                pieces.append(piece)
                size += len(piece)
                if limit is not None and size > limit:
                    raise ConnectionBroken(f"The engine's answer is larger than {limit} bytes.")
            elif self.complete:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            else:
                await self.more()

    def take(self) -> bytes:
        """What has come since the last time; nothing if nothing came."""
        if not self._chunks:
            return b""
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

    def begin_head(self) -> None:
        """A head begins, perhaps after that of a 1xx answer, whose headers say nothing about this one."""
        self.headers.clear()
        self._framed = False
        self._in_head = True

    def take_header(self, name: bytes, value: bytes) -> None:
        """A header, its name in small letters. Trailers, which come after the body, are ignored."""
        if not self._in_head:
            return
        if name in KEPT_HEADERS:
            self.headers.setdefault(name, value.decode("latin-1"))
        elif name in FRAMING:
            self._framed = True

    def take_status(self, status: int) -> None:
        """The end of a head; 1xx comes before the real one."""
        self._in_head = False
        if status >= 200:
            self.status = status
            self._wake()

    def take_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._heard = True
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

    def _check_time(self) -> None:
        """Fail if a limit is reached, else check again at the time when the next one could be."""
        now, limits = self._loop.time(), self._limits
        if self._waiter is None:
            until = now + limits.gap
        elif self._heard:
            until = self._waiting_since + limits.gap
        else:
            until = self._began + limits.first_byte
        until = min(until, self._began + limits.total)
        if until <= now + CLOCK_STEP:
            self.fail(TimeoutError("The engine's answer took too long."))
            self._connection.abort()
        else:
            self._timer = self._loop.call_later(min(until - now, limits.gap), self._check_time)

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            self._connection.resume()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
