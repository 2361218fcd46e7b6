"""A fake of one vLLM server: the routes that LoraLoop uses, deterministic answers, and faults on demand.

It ships with the real client, so that tests need neither a model nor patches.
"""

import asyncio
import hashlib
import json
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from core.errors import AdapterRefused
from core.records import Version

Fault = Literal["", "down", "error", "hang", "break"]
VOCABULARY = 50_000
CONTEXT = 2048
# The log-probability of the token with which the answer begins.
SURE = -0.001
DONE = b"data: [DONE]\n\n"
# Gateways ask for it at any moment.
HEALTH = "/health"


class BrokenOff(Exception):
    """The fake ends a connection in the middle of its answer, as asked."""


def echo(model: str, prompt: str) -> str:
    """Return the default answer: the model and its prompt."""
    return f"{model} heard {prompt}"


def indifferent(model: str, word: str) -> float:
    """The default log-probability of a word in an answer: the same for every model."""
    return -1.0


@dataclass
class FakeEngine:
    """One engine: its adapters, its requests and its faults.

    What it answers is what it scores highest. `likes` is the log-probability that a model gives to a word of an answer
    that is not its own. Adapters named in `inert` score like the base model; `gap_s` is the time between events of a
    stream; `traces` are the `traceparent` headers that came; `busy` what its metrics say of requests under way.
    `requests` and `traces` leave out the questions after its health.
    """

    base_name: str = "base"
    answer: Callable[[str, str], str] = echo
    likes: Callable[[str, str], float] = indifferent
    fault: Fault = ""
    inert: set[str] = field(default_factory=set)
    gap_s: float = 0.0
    busy: dict[str, int] = field(default_factory=lambda: {"running": 0, "waiting": 0})
    adapters: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    traces: list[str | None] = field(default_factory=list)
    words: dict[int, str] = field(default_factory=dict)
    # Paths that an engine serves whose model makes embeddings or ranks.
    pools: tuple[str, ...] = ()
    # The messages of an answer that is more than one text, from the model and the request. None: `answer` gives it.
    messages: Callable[[str, dict[str, Any]], list[dict[str, Any]] | None] = lambda model, body: None

    def reply(self, path: str, body: dict[str, Any], request_id: str) -> tuple[int, bytes | list[bytes]]:
        """(status, the body or the events of a stream) for a request."""
        if path != HEALTH:
            self.requests.append((path, body))
        if self.fault in ("error", "down"):
            return _refuse(500 if self.fault == "error" else 503, "the fake fails as asked")
        found: tuple[int, bytes | list[bytes]] = _refuse(404, "Not Found")
        match path:
            case _ if path == HEALTH:
                found = 200, b""
            case "/version":
                found = _plain({"version": "fake"})
            case "/metrics":
                lines = (f'vllm:num_requests_{state}{{engine="0"}} {n}.0' for state, n in self.busy.items())
                found = 200, "\n".join(lines).encode()
            case "/v1/models":
                found = _plain({"object": "list", "data": [{"id": n} for n in (self.base_name, *self.adapters)]})
            case "/v1/load_lora_adapter" | "/v1/unload_lora_adapter":
                found = self._change(path, body)
            case "/tokenize":
                said = body["prompt"] if "prompt" in body else " ".join(m["content"] or "" for m in body["messages"])
                tokens = self._tokens(said)
                found = _plain({"tokens": tokens, "count": len(tokens), "max_model_len": CONTEXT})
            case "/detokenize":
                found = _plain({"prompt": " ".join(self.words.get(token, "?") for token in body["tokens"])})
            case "/v1/embeddings" | "/v1/rerank" | "/v2/rerank" | "/rerank" if path in self.pools:
                found = self._pool(body)
            case "/v1/chat/completions" | "/v1/completions":
                found = self._complete(path == "/v1/chat/completions", body, request_id)
        return found

    def _change(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        name = body["lora_name"]
        if path == "/v1/load_lora_adapter":
            if name in self.adapters:
                return _refuse(400, f"The lora adapter '{name}' has already been loaded.")
            self.adapters[name] = body["lora_path"]
        elif self.adapters.pop(name, None) is None:
            return _refuse(404, f"The lora adapter '{name}' cannot be found.")
        return 200, b"Success"

    def _pool(self, body: dict[str, Any]) -> tuple[int, bytes]:
        """Embeddings of one number, the number of words, or ranks by the number of words."""
        if body["model"] != self.base_name:
            return _refuse(404, f"The model `{body['model']}` does not exist.")
        texts = body.get("documents", body.get("input", ""))
        sizes = [len(text.split()) for text in ([texts] if isinstance(texts, str) else texts)]
        usage = {"prompt_tokens": sum(sizes), "total_tokens": sum(sizes)}
        if "documents" in body:
            ranks = [{"index": i, "relevance_score": size / 10} for i, size in enumerate(sizes)]
            ranks.sort(key=lambda rank: -rank["relevance_score"])
            return _plain({"id": "rerank-0", "model": self.base_name, "usage": usage, "results": ranks})
        data = [{"index": i, "object": "embedding", "embedding": [float(size)]} for i, size in enumerate(sizes)]
        return _plain({"object": "list", "model": self.base_name, "data": data, "usage": usage})

    def _complete(self, chat: bool, body: dict[str, Any], request_id: str) -> tuple[int, bytes | list[bytes]]:
        model = body["model"]
        if model != self.base_name and model not in self.adapters:
            return _refuse(404, f"The model `{model}` does not exist.")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        length = len(prompt if isinstance(prompt, list) else str(prompt).split())
        if length >= CONTEXT:
            return _refuse(400, f"This model's maximum context length is {CONTEXT} tokens, yours has {length}.")
        if "prompt_logprobs" in body:
            return self._follow(model, prompt)
        words = self.answer(model, str(prompt)).split(" ")
        usage = {"prompt_tokens": len(str(prompt).split()), "completion_tokens": len(words)}
        usage["total_tokens"] = sum(usage.values())
        kind = f"chat.completion{'.chunk' if body.get('stream') else ''}" if chat else "text_completion"
        head = {"id": ("chatcmpl-" if chat else "cmpl-") + request_id, "object": kind, "model": model, "created": 0}
        if (messages := self.messages(model, body)) is not None:
            return _whole(head, messages, usage, stream=bool(body.get("stream")))
        if body.get("stream"):
            asked = (body.get("stream_options") or {}).get("include_usage")
            return 200, list(_events(head, chat, words, usage if asked else None))
        text = " ".join(words)
        shape = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, "finish_reason": "stop", **shape}
        if body.get("return_token_ids"):
            choice["token_ids"] = self._tokens(text)
        if body.get("logprobs") and "logprob_token_ids" in body:
            begun = self.answer(self.base_name, str(prompt)).split(" ") if model in self.inert else words
            asked = [self._logprob(model, str(prompt), token, begun[0]) for token in body["logprob_token_ids"]]
            choice["logprobs"] = {"content": [{"top_logprobs": asked}]}
        return _plain(head | {"choices": [choice], "usage": usage})

    def _tokens(self, text: str) -> list[int]:
        words = {_token(word): word for word in text.split()}
        self.words |= words
        return list(map(_token, text.split()))

    def _follow(self, model: str, tokens: list[int]) -> tuple[int, bytes]:
        """The scores of a prompt given as tokens; the first has none."""
        scores = [{str(token): {"logprob": self.likes(model, self.words[token])}} for token in tokens[1:]]
        choice = {"index": 0, "text": "", "finish_reason": "length", "prompt_logprobs": [None, *scores]}
        return _plain({"model": model, "choices": [choice], "usage": {"prompt_tokens": len(tokens)}})

    def _logprob(self, model: str, prompt: str, token: int, begins: str) -> dict[str, Any]:
        who = self.base_name if model in self.inert else model
        if token == _token(begins):
            return {"token": f"token_id:{token}", "logprob": SURE}
        place = hashlib.sha256(f"{who}\n{prompt}\n{token}".encode()).digest()[0]
        return {"token": f"token_id:{token}", "logprob": -1.0 - place / 64}

    def transport(self) -> httpx.MockTransport:
        """For `VllmClient(url, transport=…)`: no socket, no server."""

        def handle(request: httpx.Request) -> httpx.Response:
            if self.fault == "down":
                raise httpx.ConnectError("connection refused", request=request)
            if self.fault == "hang":
                raise httpx.ReadTimeout("timed out", request=request)
            if self.fault == "break":
                raise httpx.RemoteProtocolError("broke off", request=request)
            body = json.loads(request.content or b"{}")
            status, content = self.reply(request.url.path, body, request.headers.get("x-request-id", "0"))
            return httpx.Response(status, content=content if isinstance(content, bytes) else b"".join(content))

        return httpx.MockTransport(handle)

    def app(self) -> FastAPI:
        """The same as an ASGI app."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

        @app.api_route("/{path:path}", methods=["GET", "POST"])
        async def any_route(path: str, request: Request) -> Response:
            while self.fault == "hang":
                await asyncio.sleep(0.01)
            if f"/{path}" != HEALTH:
                self.traces.append(request.headers.get("traceparent"))
            body = json.loads(await request.body() or b"{}")
            status, content = self.reply(f"/{path}", body, request.headers.get("x-request-id", "0"))
            media = "application/json" if isinstance(content, bytes) else "text/event-stream"
            parts = [content[:20], content[20:]] if isinstance(content, bytes) else content
            return StreamingResponse(self._send(parts), status, media_type=media)

        return app

    async def _send(self, parts: list[bytes]) -> AsyncIterator[bytes]:
        for number, part in enumerate(parts):
            if self.fault == "break" and number >= len(parts) // 2:
                raise BrokenOff
            yield part
            await asyncio.sleep(self.gap_s)


class FakeEngines:
    """What promotion needs of the engines, without any: all hold everything but the versions in `refused`."""

    def __init__(self, *names: str, refused: tuple[int, ...] = ()) -> None:
        self.adapters_by_engine: dict[str, tuple[str, ...]] | None = {"http://engine": names}
        self._refused = refused

    @contextmanager
    def ensure_loaded(self, version: Version) -> Iterator[None]:
        """Raises AdapterRefused for a version that is to be refused."""
        if version.version in self._refused:
            raise AdapterRefused(f"{version.public_name} answers like the base model.")
        yield


@contextmanager
def running(app: Any, port: int = 0, **options: Any) -> Iterator[str]:
    """Serves any ASGI app on a loopback port, in a thread, for the length of a with block; gives its URL.

    `options` are uvicorn's.
    """
    with socket.create_server(("127.0.0.1", port)) as listener:
        given: dict[str, Any] = {"log_level": "critical", "ws": "none", "timeout_graceful_shutdown": 1} | options
        config = uvicorn.Config(app, **given)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def _token(word: str) -> int:
    return zlib.crc32(word.encode()) % VOCABULARY


def _events(head: dict[str, Any], chat: bool, words: list[str], usage: dict[str, int] | None) -> Iterator[bytes]:
    pieces = [words[0], *(f" {word}" for word in words[1:])]
    if chat:
        yield _event(head, [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
    for number, piece in enumerate(pieces, 1):
        shape = {"delta": {"content": piece}} if chat else {"text": piece}
        finish = "stop" if number == len(pieces) else None
        yield _event(head, [{"index": 0, "finish_reason": finish, **shape}])
    if usage is not None:
        yield _event(head | {"usage": usage}, [])
    yield DONE


def _whole(
    head: dict[str, Any], messages: list[dict[str, Any]], usage: dict[str, int], *, stream: bool
) -> tuple[int, bytes | list[bytes]]:
    """Messages as the choices of an answer; streamed, each part of a message is an event."""
    ends = ["tool_calls" if message.get("tool_calls") else "stop" for message in messages]
    if not stream:
        choices = [
            {"index": n, "message": {"role": "assistant", "content": None} | message, "finish_reason": end}
            for n, (message, end) in enumerate(zip(messages, ends, strict=True))
        ]
        return _plain(head | {"choices": choices, "usage": usage})
    events = []
    for n, (message, end) in enumerate(zip(messages, ends, strict=True)):
        for name, part in message.items():
            pieces = [[call | {"index": i}] for i, call in enumerate(part)] if name == "tool_calls" else part
            events += [_event(head, [{"index": n, "delta": {name: piece}}]) for piece in pieces]
        events.append(_event(head, [{"index": n, "delta": {}, "finish_reason": end}]))
    return 200, [*events, _event(head | {"usage": usage}, []), DONE]


def _event(head: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
    return b"data: " + json.dumps(head | {"choices": choices}).encode() + b"\n\n"


def _plain(body: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps(body).encode()


def _refuse(status: int, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": {"message": message, "type": "fake", "param": None, "code": status}}).encode()
