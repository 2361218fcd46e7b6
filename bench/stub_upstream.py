"""The stub upstream: nginx with one fixed completion, and a server of streams whose events carry their send time.

python -m bench.stub_upstream PORT        (the server of streams alone)
"""

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvicorn

BASE = "base"
CHUNKS = 64
GAP_SECONDS = 0.002
# Python's clock on Linux is CLOCK_MONOTONIC, which all processes of a machine share.
# The name of a delta's text differs between chat, Messages and Responses.
STAMP = re.compile(rb'"(?:content|text|delta)":"(\d+) "')

ANSWER = (
    "The review praises the battery and the screen, calls the speaker weak, and says nothing of the price. On the "
    "whole its author would buy the device again, so the sentiment is positive."
)
USAGE = {"prompt_tokens": 62, "completion_tokens": CHUNKS, "total_tokens": 62 + CHUNKS}
HEAD = {"id": "chatcmpl-00000000000000000000000000000000", "created": 1767225600, "model": BASE}
COMPLETION = HEAD | {
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "logprobs": None, "finish_reason": "stop"}
    ],
    "usage": USAGE,
}

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/json;
    # A connection is never closed between two requests: the load is on requests, not on handshakes.
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /health {{ return 200; }}
        location = /v1/models {{ return 200 '{models}'; }}
        location / {{ return 200 '{completion}'; }}
    }}
}}
"""


def write_nginx(folder: Path, port: int) -> list[str]:
    """Writes nginx's configuration and returns the command that serves it; everything it writes stays in `folder`."""
    models = {"object": "list", "data": [{"id": BASE, "object": "model", "created": 0, "owned_by": "bench"}]}
    text = NGINX.format(
        folder=folder, port=port, models=orjson.dumps(models).decode(), completion=orjson.dumps(COMPLETION).decode()
    )
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def events(asked: dict[str, Any]) -> list[bytes | None]:
    """The events of one stream as an engine sends them; None where an event with the time of its sending goes."""
    usage = (
        [_event({"choices": [], "usage": USAGE})] if (asked.get("stream_options") or {}).get("include_usage") else []
    )
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*[None] * CHUNKS, _event(last), *usage, b"data: [DONE]\n\n"]


def stamped() -> bytes:
    """One event whose content is the time of its sending, in nanoseconds."""
    delta = {"content": f"{time.perf_counter_ns()} "}
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(HEAD | {"object": "chat.completion.chunk"} | content) + b"\n\n"


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[..., Awaitable[None]]
) -> None:
    """Stream to requests with `stream: true` and answer all others whole. ASGI."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    asked = orjson.loads(body or b"{}")
    kind = b"text/event-stream" if asked.get("stream") else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if not asked.get("stream"):
        await send({"type": "http.response.body", "body": orjson.dumps(COMPLETION)})
        return
    for event in events(asked):
        if event is None:
            await asyncio.sleep(GAP_SECONDS)
        await send({"type": "http.response.body", "body": event or stamped(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", access_log=False, log_level="warning")
