"""Send load over HTTP and measure latency, rate and delay of the answers."""

import asyncio
import http.client
import json
import random
import statistics
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.stub_upstream import CHUNKS, STAMP
from core.errors import LoraLoopError

SCRIPT = Path(__file__).with_name("chat.lua")
CHAT = "/v1/chat/completions"
PATHS = {"chat": CHAT, "messages": "/v1/messages", "responses": "/v1/responses"}
COMPLETIONS = "/v1/completions"
TIMEOUT_SECONDS = 30
ENGINE_SECONDS = 600
DECODES = 32
PROMPT_TOKENS = 16
DECODE_TOKENS = 24


class LoadFailed(LoraLoopError):
    """A system did not answer every request, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement: the median latency in ms and the answers a second."""

    p50_ms: float
    rps: float


@dataclass(frozen=True, slots=True)
class Client:
    """What every request carries: the app's key and the public model. The one place where a key is sent."""

    key: str
    model: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request."""
        return {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}

    def press(self, url: str, connections: int, seconds: int, api: str = "chat") -> Turn:
        """Run wrk with one thread and this many connections. Raises LoadFailed if one answer was no success."""
        command = [
            "wrk",
            "--threads",
            "1",
            "--connections",
            str(connections),
            "--duration",
            f"{seconds}s",
            "--timeout",
            f"{TIMEOUT_SECONDS}s",
            "--script",
            str(SCRIPT),
            url + PATHS[api],
            "--",
            self.key,
            self.model,
            api,
        ]
        return parse_wrk(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def ask(self, url: str) -> int:
        """One small chat completion; returns its status."""
        with _connected(url) as connection:
            connection.request("POST", CHAT, self._body(stream=False), self.headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status

    def chunk_delay_us(self, url: str, streams: int, api: str = "chat") -> float:
        """Median over the chunks of some streams, one after the other, of arrival minus sending, in µs."""
        delays: list[float] = []
        with _connected(url) as connection:
            for _ in range(streams):
                connection.request("POST", PATHS[api], self._body(stream=True, api=api), self.headers)
                delays += _delays(connection.getresponse())
        return statistics.median(delays)

    async def token_rate(self, url: str, model: str, *, stream: bool) -> float:
        """Tokens per second of `DECODES` concurrent completions, with new prompts so that no cache serves them."""
        timeout = aiohttp.ClientTimeout(total=ENGINE_SECONDS)
        connector = aiohttp.TCPConnector(limit=DECODES)
        async with aiohttp.ClientSession(headers=self.headers, timeout=timeout, connector=connector) as session:

            async def decode() -> None:
                prompt = [random.randrange(100, 40_000) for _ in range(PROMPT_TOKENS)]
                body = {
                    "model": model,
                    "prompt": prompt,
                    "max_tokens": DECODE_TOKENS,
                    "ignore_eos": True,
                    "temperature": 0,
                    "user": f"user-{prompt[0]}",
                    "stream": stream,
                }
                async with session.post(url + COMPLETIONS, json=body) as answer:
                    content = await answer.read()
                    if answer.status != 200:
                        raise LoadFailed(f"A completion was answered with {answer.status}: {content[:200]!r}.")

            began = time.perf_counter()
            await asyncio.gather(*(decode() for _ in range(DECODES)))
            return DECODES * DECODE_TOKENS / (time.perf_counter() - began)

    def _body(self, *, stream: bool, api: str = "chat") -> str:
        question = {"role": "user", "content": "The battery lasts two days, but the speaker is poor."}
        more = {
            "chat": {"user": "user-1", "messages": [question]},
            "messages": {"metadata": {"user_id": "user-1"}, "messages": [question], "max_tokens": 64},
            "responses": {"user": "user-1", "input": [question]},
        }
        return json.dumps({"model": self.model, "stream": stream, **more[api]})


def parse_wrk(output: str) -> Turn:
    """The figures in the last line that chat.lua writes. Raises LoadFailed."""
    p50_us, requests, duration_us, failed = (int(word) for word in output.splitlines()[-1].split())
    if failed or not requests:
        raise LoadFailed(f"{requests} requests were answered and {failed} failed.")
    return Turn(p50_us / 1000, requests / duration_us * 1e6)


def _delays(answer: http.client.HTTPResponse) -> list[float]:
    rest, delays = b"", []
    while piece := answer.read1():
        arrived = time.perf_counter_ns()
        *whole, rest = (rest + piece).split(b"\n\n")
        stamps = [STAMP.search(event) for event in whole]
        delays += [(arrived - int(stamp[1])) / 1000 for stamp in stamps if stamp]
    if len(delays) != CHUNKS:
        raise LoadFailed(f"A stream brought {len(delays)} of {CHUNKS} chunks.")
    return delays


def _connected(url: str) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT_SECONDS))
