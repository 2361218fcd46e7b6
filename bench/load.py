"""Load: what clients ask, and what they see of the answers.

It owns how latency, rate and delay are measured over HTTP; it must not know who answers.
"""

import http.client
import json
import statistics
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.canned import CHUNKS, STAMP
from core.errors import LoraLoopError

SCRIPT = Path(__file__).with_name("chat.lua")
CHAT = "/v1/chat/completions"
TIMEOUT_SECONDS = 30


class LoadFailed(LoraLoopError):
    """Somebody did not answer everything that was asked, so that its figures mean nothing."""


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

    def press(self, url: str, connections: int, seconds: float) -> Turn:
        """wrk with one thread and so many connections. Raises LoadFailed if one answer was no success."""
        command = [
            "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s",
            "--timeout", f"{TIMEOUT_SECONDS}s", "--script", str(SCRIPT), url + CHAT, "--", self.key, self.model,
        ]  # fmt: skip
        return parse_wrk(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def ask(self, url: str) -> int:
        """One small chat completion; returns its status."""
        with _connected(url) as connection:
            connection.request("POST", CHAT, self._body(stream=False), self.headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status

    def chunk_delay_us(self, url: str, streams: int) -> float:
        """Median over the chunks of some streams, one after the other, of arrival minus sending, in µs."""
        delays: list[float] = []
        with _connected(url) as connection:
            for _ in range(streams):
                connection.request("POST", CHAT, self._body(stream=True), self.headers)
                delays += _delays(connection.getresponse())
        return statistics.median(delays)

    def _body(self, *, stream: bool) -> str:
        question = {"role": "user", "content": "The battery lasts two days, but the speaker is poor."}
        return json.dumps({"model": self.model, "user": "user-1", "messages": [question], "stream": stream})


def parse_wrk(output: str) -> Turn:
    """The figures in the last line that chat.lua writes. Raises LoadFailed."""
    p50_us, requests, duration_us, failed = (int(word) for word in output.splitlines()[-1].split())
    if failed or not requests:
        raise LoadFailed(f"{failed} requests failed and {requests} were answered.")
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
