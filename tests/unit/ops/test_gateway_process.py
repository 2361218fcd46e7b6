"""Facts about a gateway's connections and its end: requests to upgrade, trailers, a second process, SIGTERM."""

import json
import socket
import threading
import time
from typing import Any

import httpx
import pytest

from core.errors import NotReady
from core.settings import build
from ops.apps.gateway import create_app
from ops.apps.http_protocol import ClientProtocol
from serve.engines.fake import running

CHAT = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}], "user": "ada"}
JAVA = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"


def exchange(url: str, *pieces: bytes) -> bytes:
    """What a server answers to these bytes, each in a packet of its own, until it has nothing more to say."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(1)
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.05)
        found = b""
        try:
            while more := client.recv(65536):
                found += more
        except TimeoutError:
            pass
        return found


def post(body: bytes, headers: str = "", framing: str | None = None) -> bytes:
    length = framing or f"Content-Length: {len(body)}\r\n"
    return f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}{length}\r\n".encode() + body


def test_a_client_that_offers_http_2_is_answered_in_http_1() -> None:
    body = json.dumps(CHAT).encode()
    with running(Echo(), http=ClientProtocol) as url:
        for pieces in ((post(body, JAVA),), (post(body, JAVA)[:60], post(body, JAVA)[60:300], post(body, JAVA)[300:])):
            found = exchange(url, *pieces, post(b"next"))
            assert found.count(b"HTTP/1.1 200") == 2 and body in found and b"next" in found
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        found = exchange(url, post(chunked, JAVA, "Transfer-Encoding: chunked\r\n"))
        assert b"HTTP/1.1 200" in found and body in found


def test_trailers_are_no_headers() -> None:
    with running(Echo(), http=ClientProtocol) as url:
        chunked = b"2\r\nhi\r\n0\r\nAuthorization: Bearer stolen\r\n\r\n"
        found = exchange(url, post(chunked, framing="Transfer-Encoding: chunked\r\n"))
        assert b"hi" in found and b"stolen" not in found and b"authorization" not in found.lower()


def test_what_is_no_http_is_refused() -> None:
    with running(Echo(), http=ClientProtocol) as url:
        assert exchange(url, b"\0\0\0\r\n\r\n").startswith(b"HTTP/1.1 400")


class Echo:
    """Answers with the body and the names and values of the headers."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": f"{kind}.complete"})
                if kind == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        answer = body + b"\n" + b"\n".join(name + b": " + value for name, value in scope["headers"])
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]}
        )
        await send({"type": "http.response.body", "body": answer})


def test_a_second_gateway_on_the_same_folder_is_refused_and_another_name_is_not(gateway: Any) -> None:
    gateway.open()

    def settings(**of_gateway: Any) -> Any:
        models = {"reviews": {"labels": ["a", "b"]}}
        return build({"data": str(gateway.data), "models": models, "gateway": of_gateway, "access": "open"})

    with pytest.raises(NotReady, match="Another gateway with the name gateway-1 runs"):
        create_app(settings=settings())
    assert gateway.http.post("/v1/feedback", json={"interaction_id": "i", "type": "thumbs", "value": True}).is_success
    with running(create_app(settings=settings(name="gateway-2"))):
        pass
    assert len(gateway.spooled()) == 1
    gateway.stack.close()
    with running(create_app(settings=settings())):
        pass


def test_a_request_that_the_end_of_the_gateway_cuts_is_no_client_that_left(gateway: Any) -> None:
    gateway.open().engine.gap_s = 1.0
    seen: list[str] = []

    def ask() -> None:
        url = str(gateway.http.base_url.join("/v1/chat/completions"))
        body = CHAT | {"stream": True}
        with httpx.Client(trust_env=False, timeout=10) as client, client.stream("POST", url, json=body) as answer:
            for line in answer.iter_lines():
                seen.append(line)

    asking = threading.Thread(target=ask)
    asking.start()
    gateway.until(lambda: bool(seen))
    gateway.stack.close()  # the server has one second to end its requests
    asking.join(10)
    assert (gateway.only().status, gateway.only().cause) == (503, "shutdown")
    assert any("shutting_down" in line for line in seen)
