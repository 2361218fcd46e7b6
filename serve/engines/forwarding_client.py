"""HTTP/1.1 to the engines: connections that are kept, with one request at a time on each, parsed by httptools.

A general HTTP client would take 40 % of a request's time in the gateway: see docs/decisions/0014.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

from serve.engines.http_response import ConnectionBroken, Response, TimeLimits

# A longer head of an answer is no answer of an engine.
HEAD_BYTES = 64 * 1024
# A kept connection that ended within this time, in seconds, had been closed by the engine before the request came.
STALE_SECONDS = 1.0


class HttpClient:
    """Requests to engines by URL. For one event loop."""

    def __init__(
        self, *, keep_s: float, clock: Callable[[], float] = time.monotonic, authorization: str | None = None
    ) -> None:
        self._keep_s = keep_s
        self._clock = clock
        self._authorization = authorization
        self._origins: dict[str, ConnectionPool] = {}

    async def post(
        self, engine: str, path: str, headers: Mapping[str, str], body: bytes, limits: TimeLimits
    ) -> "Response":
        """Send a POST of JSON and return the response once its head has arrived. The caller closes it.

        If a kept connection ends at once, before the first byte of the answer, the engine had closed it: the request
        is sent once more, on a new connection. Raises ConnectionBroken, or TimeoutError for an answer that exceeds a
        limit.
        """
        origin = self._origins.get(engine)
        if origin is None:
            origin = self._origins[engine] = ConnectionPool(engine, self._authorization)
        head = origin.head(path, headers, len(body))
        kept = origin.take(self._clock() - self._keep_s)
        if kept is not None:
            began = time.monotonic()
            try:
                return await _exchange(kept, engine, head, body, limits)
            except ConnectionBroken:
                if kept.heard or time.monotonic() - began > STALE_SECONDS:
                    raise
        try:
            connection = await self._connect(origin, limits.connect)
        except ConnectionBroken as error:
            error.sent = kept is not None  # that connection may have ended because the request ended the engine
            raise
        return await _exchange(connection, engine, head, body, limits)

    async def close(self) -> None:
        """Ends all connections, used or not, and waits until their sockets are closed."""
        for origin in self._origins.values():
            await origin.close()

    async def _connect(self, origin: "ConnectionPool", seconds: float) -> "Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                return (
                    await loop.create_connection(
                        lambda: Connection(origin, loop, self._clock),
                        origin.host,
                        origin.port,
                        ssl=origin.tls,
                    )
                )[1]
        except TimeoutError:
            raise ConnectionBroken(f"{origin.host} took no connection within {seconds:g} s.") from None
        except OSError as error:
            raise ConnectionBroken(f"{origin.host} took no connection: {error}") from error


async def _exchange(connection: "Connection", engine: str, head: bytes, body: bytes, limits: TimeLimits) -> Response:
    """Send a request and wait for the head of its answer."""
    response = connection.send(head, body, limits)
    response.engine = engine
    try:
        while not response.status:
            await response.more()
    except ConnectionBroken as error:
        error.sent = True
        response.close()
        raise
    except BaseException:
        response.close()
        raise
    return response


class ConnectionPool:
    """One engine's address, with the connections to it that wait for a request."""

    def __init__(self, url: str, authorization: str | None = None) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        self._prefix = parts.path.rstrip("/")
        key = f"Authorization: {authorization}\r\n" if authorization else ""
        self._fixed = (
            f"Host: {parts.netloc.rpartition('@')[2]}\r\nContent-Type: application/json\r\n"
            f"Accept-Encoding: identity\r\n{key}"
        )
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    def head(self, path: str, headers: Mapping[str, str], length: int) -> bytes:
        """The head of a POST of JSON. `headers` differ between requests. Raises ValueError for a line break."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if lines.count("\n") != len(headers):
            raise ValueError("A header's value holds a line break.")
        head = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._fixed}{lines}Content-Length: {length}\r\n\r\n"
        return head.encode("latin-1")

    def take(self, oldest: float) -> "Connection | None":
        """The connection that was used last, unless it has been idle since before `oldest`."""
        if not self._idle:
            return None
        connection = self._idle.pop()
        if connection.idle_since >= oldest:  # one that ended has been forgotten
            return connection
        for stale in (connection, *self._idle):  # all others have waited even longer
            stale.abort()
        self._idle.clear()
        return None

    def keep(self, connection: "Connection") -> None:
        """Takes back a connection whose answer was read whole."""
        self._idle.append(connection)

    def opened(self, connection: "Connection") -> None:
        """Counts a connection in."""
        self._open.add(connection)

    def forget(self, connection: "Connection") -> None:
        """Drops a connection that has ended."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def close(self) -> None:
        """Ends all connections."""
        while self._open:
            for connection in tuple(self._open):
                connection.abort()
            await asyncio.sleep(0)


class Connection(asyncio.Protocol):
    """One socket. httptools calls the `on_` methods."""

    def __init__(self, origin: ConnectionPool, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self.idle_since = 0.0
        self.heard = False
        self._origin = origin
        self._loop = loop
        self._clock = clock
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._may_go_on = False
        self._head_bytes = 0
        self._transport: asyncio.Transport

    def send(self, head: bytes, body: bytes, limits: TimeLimits) -> "Response":
        """Sends a request and returns its response, which is still to come."""
        self.heard = self._may_go_on = False
        self._head_bytes = 0
        response = self._response = Response(self, self._loop, limits)
        if self._transport.is_closing():
            response.fail(ConnectionBroken("The engine ended the connection."))
        else:
            self._transport.writelines([head, body])
        return response

    def done_with(self, response: "Response") -> None:
        """Keeps the connection if its answer came whole and both sides want to go on, else ends it."""
        if self._response is not response:
            return
        self._response = None
        # An engine may answer before it has read the request: what is still to be sent would precede the next one.
        sent = not self._transport.is_closing() and not self._transport.get_write_buffer_size()
        if response.complete and self._may_go_on and sent:
            self.idle_since = self._clock()
            self._origin.keep(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Ends it at once; the engine sees its client gone and stops."""
        self._transport.abort()

    def pause(self) -> None:
        """Takes nothing more from the engine for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Takes more again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: the socket is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._origin.opened(self)

    def data_received(self, data: bytes) -> None:
        """asyncio's: bytes came."""
        self.heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break("The engine changes to another protocol, which nobody asked for.")
        except httptools.HttpParserError as error:
            self._break(f"The engine sent what is no HTTP: {error}")
        else:
            response = self._response
            if response is not None and not response.status:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_BYTES:
                    self._break(f"The head of the engine's answer is larger than {HEAD_BYTES} bytes.")

    def _break(self, reason: str) -> None:
        if self._response is not None:
            self._response.fail(ConnectionBroken(reason))
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's: the socket is gone."""
        self._origin.forget(self)
        if self._response is not None:
            self._response.ended(exc)

    def on_message_begin(self) -> None:
        """httptools': a response begins, which nobody may have asked for."""
        if self._response is None or self._response.complete:
            raise ConnectionBroken("Bytes that belong to no answer.")
        self._response.begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools': a header of the response."""
        if self._response is not None:
            self._response.take_header(name.lower(), value)

    def on_headers_complete(self) -> None:
        """httptools': the head is whole."""
        if self._response is not None:
            self._response.take_status(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        """httptools': a piece of the body."""
        if self._response is not None:
            self._response.take_body(body)

    def on_message_complete(self) -> None:
        """httptools': the response is whole."""
        self._may_go_on = self._parser.should_keep_alive()
        if self._response is not None:
            self._response.finish()
