"""Facts about what engines and proxies may send: 1xx answers, trailers, early answers, endless heads, slow parts."""

import asyncio
import time

import pytest

from serve.engines.forwarding_client import HEAD_BYTES
from serve.engines.http_response import ConnectionBroken
from tests.unit.serve.test_forwarding_client import (
    CHUNKED,
    HEAD,
    SIZED,
    Client,
    Engine,
    ask,
    client,
    engine_that,
    run,
    says,
)

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("early", "final", "kind"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n", HEAD + b"\r\nhello", "text/plain"),
        (b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\n\r\n", OK + b"Content-Length: 5\r\n\r\nhello", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3, SIZED, "text/plain"),
    ],
)
def test_headers_of_a_1xx_answer_say_nothing_about_the_next(early: bytes, final: bytes, kind: str | None) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        assert await ask(asking, engine) == (200, kind, b"hello")

    run(says(early, final, end=True), use)


def test_trailers_are_no_headers() -> None:
    trailed = CHUNKED.removesuffix(b"\r\n") + b"Content-Type: text/html\r\nRetry-After: 9\r\n\r\n"

    async def use(asking: Client, engine: Engine) -> None:
        response = await asking.post(engine.url, "/", {}, b"")
        assert await response.read() == b"hello"
        assert response.headers == {b"content-type": "text/plain"}
        response.close()

    run(says(trailed), use)


def test_of_two_media_types_the_first_counts() -> None:
    twice = HEAD + b"Content-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"

    async def use(asking: Client, engine: Engine) -> None:
        assert (await ask(asking, engine))[1] == "text/plain"

    run(says(twice), use)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OK + b"X: " + b"a" * HEAD_BYTES, "larger than"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, "larger than"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "another protocol"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "no HTTP"),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "no HTTP"),
    ],
)
def test_what_no_engine_sends_ends_the_connection_with_a_reason(answer: bytes, words: str) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        with pytest.raises(ConnectionBroken, match=words):
            await ask(asking, engine)

    run(says(answer), use)


def test_chunk_extensions_are_passed_over() -> None:
    extended = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n0\r\n\r\n"

    async def use(asking: Client, engine: Engine) -> None:
        assert (await ask(asking, engine))[2] == b"hello"

    run(says(extended), use)


def test_a_connection_whose_request_was_answered_before_it_was_read_is_not_kept() -> None:
    async def scene() -> None:
        answered = asyncio.Event()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            await answered.wait()
            writer.close()

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            asking = client()
            response = await asking.post(url, "/", {}, b"x" * 32_000_000)
            assert (response.status, await response.read()) == (413, b"")
            response.close()
            assert asking.idle(url) == 0
            await asking.close()
            answered.set()
            await asyncio.sleep(0.05)

    asyncio.run(scene())


def test_a_request_is_sent_once_more_at_most() -> None:
    asked = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked <= 3:
            await asyncio.sleep(0.05)  # all three connections are open at a time
            writer.write(SIZED)
        else:
            writer.transport.abort()

    async def use(asking: Client, engine: Engine) -> None:
        await asyncio.gather(*(ask(asking, engine) for _ in range(3)))
        with pytest.raises(ConnectionBroken) as found:
            await ask(asking, engine)
        assert found.value.sent
        await asking.close()
        await asyncio.sleep(0.05)  # until the engine has ended its sides of the connections

    assert len(run(serve, use).requests) == 5


def test_a_request_that_nobody_took_was_not_sent() -> None:
    async def scene() -> None:
        async with engine_that(says(SIZED)) as engine:
            pass
        with pytest.raises(ConnectionBroken) as found:
            await ask(client(), engine)
        assert not found.value.sent

    asyncio.run(scene())


def test_a_long_answer_that_goes_on_exceeds_no_limit() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 10\r\n\r\n")
        for _again in range(10):
            await asyncio.sleep(0.25)
            writer.write(b"x")

    async def use(asking: Client, engine: Engine) -> None:
        assert (await ask(asking, engine))[2] == b"x" * 10

    run(serve, use, first_s=2, gap_s=2)


@pytest.mark.parametrize(
    ("first_s", "gap_s", "total_s", "begin"),
    [
        (0.2, 900, 900, b""),
        (0.2, 900, 900, HEAD + b"\r\n"),
        (900, 0.2, 900, HEAD + b"\r\nx"),
        (900, 900, 0.2, HEAD + b"\r\nx"),
    ],
)
def test_each_limit_ends_an_answer_that_stops(first_s: float, gap_s: float, total_s: float, begin: bytes) -> None:
    async def use(asking: Client, engine: Engine) -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await ask(asking, engine)
        assert 0.15 < time.monotonic() - began < 600

    run(says(begin), use, first_s=first_s, gap_s=gap_s, timeout_s=total_s)


def test_a_reader_that_waits_uses_no_time_of_the_engine() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        response = await asking.post(engine.url, "/", {}, b"")
        await asyncio.sleep(0.5)
        assert await response.read() == b"hello"
        response.close()

    run(says(SIZED), use, first_s=0.1, gap_s=0.1)


def test_an_answer_of_more_bytes_than_asked_for_is_refused() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        response = await asking.post(engine.url, "/", {}, b"")
        with pytest.raises(ConnectionBroken, match="larger than 4 bytes"):
            await response.read(4)
        response.close()

    run(says(SIZED), use)


def test_an_engine_behind_a_key_gets_it() -> None:
    async def use(asking: Client, engine: Engine) -> None:
        await ask(asking, engine)

    engine = run(says(SIZED), use, authorization="Bearer s3cret")
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in engine.requests[0]
