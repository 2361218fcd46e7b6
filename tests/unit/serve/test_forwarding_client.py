"""Facts about the client for engines: what it reads however it comes, what it keeps, and how it gives up."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engines.forwarding_client import HttpClient
from serve.engines.http_response import HIGH_BYTES, ConnectionBroken, Response, TimeLimits
from tests.support.certificate import self_signed

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
SIZED = HEAD + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
UNTIL_END = HEAD + b"\r\nhello"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Engine:
    """A server that reads requests and hands each to a function, which writes the answer."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.serve(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def engine_that(serve: Serve) -> AsyncIterator[Engine]:
    engine = Engine(serve)
    async with await asyncio.start_server(engine.connected, "127.0.0.1", 0) as server:
        engine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield engine


def says(*pieces: bytes, end: bool = False) -> Serve:
    """Writes pieces, each in a packet of its own."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if end:
            writer.close()

    return serve


class Client:
    """The client with the same time limits for every request."""

    def __init__(self, limits: TimeLimits, **how: Any) -> None:
        self._client, self._limits = HttpClient(**how), limits
        self.close = self._client.close

    def idle(self, engine: str) -> int:
        return len(self._client._origins[engine]._idle)

    async def post(self, engine: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        return await self._client.post(engine, path, headers, body, self._limits)


def client(
    *,
    first_s: float = 5,
    gap_s: float = 5,
    timeout_s: float = 5,
    keep_s: float = 4,
    clock: Callable[[], float] = lambda: 0.0,
    **more: Any,
) -> Client:
    return Client(TimeLimits(5, first_s, gap_s, timeout_s), keep_s=keep_s, clock=clock, **more)


async def ask(asking: Client, engine: Engine, body: bytes = b"{}") -> tuple[int, str | None, bytes]:
    """(status, media type, body) of one request."""
    response = await asking.post(engine.url, "/v1/x", {"X-Request-Id": "r1"}, body)
    try:
        return response.status, response.content_type, await response.read()
    finally:
        response.close()


def run(serve: Serve, use: Callable[[Client, Engine], Awaitable[None]], **how: Any) -> Engine:
    """Uses a client before an engine, within some seconds."""

    async def scene() -> Engine:
        async with engine_that(serve) as engine, asyncio.timeout(10):
            asking = client(**how)
            try:
                await use(asking, engine)
            finally:
                await asking.close()
            return engine

    return asyncio.run(scene())


def test_a_request_is_whole_and_names_its_host() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        assert await ask(asking, engine, b'{"a":1}') == (200, "text/plain", b"hello")

    engine = run(says(SIZED), use)
    host = engine.url.removeprefix("http://")
    assert engine.requests == [
        f"POST /v1/x HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nAccept-Encoding: identity\r\n"
        f'X-Request-Id: r1\r\nContent-Length: 7\r\n\r\n{{"a":1}}'.encode()
    ]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([SIZED, CHUNKED, UNTIL_END]), st.lists(st.integers(1, 90), max_size=6))
def test_an_answer_reads_the_same_however_it_is_cut(answer: bytes, cuts: list[int]) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(answer)), len(answer)})
    pieces = [answer[start:end] for start, end in pairwise(edges)]

    async def use(asking: Client, engine: Engine) -> None:
        assert await ask(asking, engine) == (200, "text/plain", b"hello")

    run(says(*pieces, end=answer is UNTIL_END), use)


@pytest.mark.parametrize("answer", [SIZED, CHUNKED])
def test_a_connection_is_kept_for_the_next_request(answer: bytes) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        for _ in range(3):
            assert (await ask(asking, engine))[2] == b"hello"

    assert run(says(answer), use).connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        SIZED.replace(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"),
        SIZED + b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_a_connection_that_is_to_end_or_says_too_much_is_not_kept(answer: bytes) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        for _ in range(2):
            assert (await ask(asking, engine))[2] == b"hello"

    assert run(says(answer), use).connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    now = 0.0

    async def use(asking: Client, engine: Engine) -> None:
        nonlocal now
        for moment in (0.0, 4.0, 8.1):
            now = moment
            await ask(asking, engine)

    assert run(says(SIZED), use, clock=lambda: now).connections == 2


def test_a_kept_connection_that_ends_just_then_is_no_failure() -> None:
    asked = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            writer.transport.abort()
        else:
            writer.write(SIZED)

    async def use(asking: Client, engine: Engine) -> None:
        for _ in range(2):
            assert (await ask(asking, engine))[2] == b"hello"

    assert run(serve, use).connections == 2


@pytest.mark.parametrize("pieces", [(), (b"HTTP/1.1 200 OK\r\nContent-Le",), (SIZED[:-2],), (CHUNKED[:-9],)])
def test_an_answer_that_breaks_off_is_said_to_be_broken(pieces: tuple[bytes, ...]) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        with pytest.raises(ConnectionBroken):
            await ask(asking, engine)

    assert len(run(says(*pieces, end=True), use).requests) == 1


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", HEAD + b"Content-Length: minus\r\n\r\n", b"\0" * 99])
def test_what_is_no_http_is_said_to_be_broken(answer: bytes) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        with pytest.raises(ConnectionBroken, match="no HTTP"):
            await ask(asking, engine)

    run(says(answer), use)


def test_nobody_there_is_said_to_be_broken() -> None:
    async def scene() -> None:
        async with engine_that(says(SIZED)) as engine:
            pass
        with pytest.raises(ConnectionBroken):
            await ask(client(), engine)

    asyncio.run(scene())


def test_an_answer_before_the_real_one_is_passed_over() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        assert await ask(asking, engine) == (200, "text/plain", b"hello")

    run(says(b"HTTP/1.1 103 Early Hints\r\n\r\n", SIZED), use)


@pytest.mark.parametrize("pieces", [(), (HEAD + b"Content-Length: 5\r\n\r\nhe",)])
def test_an_answer_that_does_not_come_in_time_ends(pieces: tuple[bytes, ...]) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        with pytest.raises(TimeoutError):
            await ask(asking, engine)

    run(says(*pieces), use, timeout_s=0.05)


def test_what_came_before_a_break_is_read_first() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        response = await asking.post(engine.url, "/", {}, b"")
        while not (found := response.take()):
            await response.more()
        assert found == b"he"
        with pytest.raises(ConnectionBroken):
            await response.read()

    run(says(CHUNKED[:-14], end=True), use)


def test_leaving_early_ends_the_connection() -> None:
    async def scene() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(CHUNKED[:-9])
            assert await reader.read() == b""
            gone.set()

        async with engine_that(serve) as engine, asyncio.timeout(5):
            response = await client().post(engine.url, "/", {}, b"")
            response.close()
            await gone.wait()

            waiting = asyncio.create_task(ask(client(), engine))
            gone.clear()
            await asyncio.sleep(0.05)
            waiting.cancel()
            await gone.wait()

    asyncio.run(scene())


def test_a_reader_that_waits_holds_the_engine_back() -> None:
    async def scene() -> None:
        size = 64 * HIGH_BYTES
        sent = 0

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size)
            for _again in range(64):
                writer.write(b"x" * HIGH_BYTES)
                await writer.drain()
                sent += HIGH_BYTES

        async with engine_that(serve) as engine, asyncio.timeout(10):
            asking = client()
            response = await asking.post(engine.url, "/", {}, b"")
            while True:
                before = sent
                await asyncio.sleep(0.1)
                if sent == before:
                    break
            assert sent < size / 2
            assert len(await response.read()) == size
            response.close()
            assert (await ask(asking, engine))[0] == 200  # and the connection is as good as new
            assert engine.connections == 1
            await asking.close()

    asyncio.run(scene())


def test_a_response_that_is_closed_twice_gives_its_connection_back_once() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        first = await asking.post(engine.url, "/", {}, b"")
        await first.read()
        first.close()
        second: Response = await asking.post(engine.url, "/", {}, b"")
        first.close()
        assert await second.read() == b"hello"
        second.close()

    assert run(says(SIZED), use).connections == 1


def test_headers_cannot_smuggle_a_line() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        with pytest.raises(ValueError, match="line break"):
            await asking.post(engine.url, "/", {"X-Request-Id": "a\r\nX-Evil: b"}, b"")

    assert run(says(SIZED), use).requests == []


def test_an_engine_may_stand_behind_tls_and_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = tmp_path / "both.pem"
    certificate.write_bytes(self_signed("127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def scene() -> None:
        engine = Engine(says(SIZED))
        async with await asyncio.start_server(engine.connected, "127.0.0.1", 0, ssl=context) as server:
            asking = client()
            port = server.sockets[0].getsockname()[1]
            engine.url = f"https://127.0.0.1:{port}/engines/a/"
            assert (await ask(asking, engine))[2] == b"hello"
            assert engine.requests[0].startswith(b"POST /engines/a/v1/x HTTP/1.1\r\n")
            engine.url = f"https://localhost:{port}"  # which the certificate does not name
            with pytest.raises(ConnectionBroken):
                await ask(asking, engine)
            await asking.close()

    asyncio.run(scene())
