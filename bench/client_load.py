"""Simulated users who send requests and votes without pause, and record every acknowledgement.

A benchmark compares these records with the store: completions that arrived whole, and acknowledged votes.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tools.live_stack import texts

BROKEN = 0  # instead of a status: the connection was refused, or ended before the answer did
RETRY_SECONDS = 0.5
ANSWER_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it began and ended (`time.monotonic`), its status, and the version that answered."""

    began: float
    ended: float
    status: int
    version: int | None


@dataclass
class ClientLoad:
    """Users of one model. Each request and each vote carries its own mark, so that a doubled row is visible."""

    url: str
    headers: dict[str, str]
    model: str
    clients: int
    pause_s: float
    votes: bool = True
    asked: list[Asked] = field(default_factory=list)
    completions: set[str] = field(default_factory=set)
    feedback: set[str] = field(default_factory=set)
    refused_votes: Counter[int] = field(default_factory=Counter)
    _ending: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Send requests for the duration of a `with` block."""
        self._ending.clear()
        thread = threading.Thread(target=lambda: asyncio.run(self._ask_all()))
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join()

    def good_after(self, moment: float) -> Asked | None:
        """The first whole answer of a request that began after a moment, of those that have come."""
        good = None
        for one in reversed(self.asked):
            if one.ended < moment:
                break
            if one.status == 200 and one.began > moment and (good is None or one.ended < good.ended):
                good = one
        return good

    def statuses(self) -> dict[str, int]:
        """How many requests ended how."""
        return {str(status or "broken"): n for status, n in sorted(Counter(one.status for one in self.asked).items())}

    async def _ask_all(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(self.url, headers=self.headers, timeout=timeout) as session:
            await asyncio.gather(*(self._user(session, seed) for seed in range(self.clients)))

    async def _user(self, session: aiohttp.ClientSession, seed: int) -> None:
        rng = random.Random(seed)
        words = [text for _, text, _ in texts(50, seed)]
        for number in range(10**9):
            if self._ending.is_set():
                return
            began = time.monotonic()
            stream = rng.random() < 0.3
            status, version, identity = await self._ask(session, f"u{seed}-{number}", rng.choice(words), stream)
            self.asked.append(Asked(began, time.monotonic(), status, version))
            if status != 200:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.completions.add(identity)
            if self.votes:
                await self._vote(session, f"v{seed}-{number}", identity)
            await asyncio.sleep(self.pause_s * rng.uniform(0.5, 1.5))

    async def _ask(
        self, session: aiohttp.ClientSession, user: str, text: str, stream: bool
    ) -> tuple[int, int | None, str]:
        """(status, version, id) of one request; BROKEN unless all of the answer came."""
        body = {
            "model": self.model,
            "user": user,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 4,
            "stream": stream,
        }
        try:
            async with session.post("/v1/chat/completions", json=body) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return BROKEN, None, ""
        if response.status != 200:
            return response.status, None, ""
        if stream and (not content.endswith(b"data: [DONE]\n\n") or b'"error"' in content):
            return BROKEN, None, ""
        said = orjson.loads(content.split(b"\n\n")[0].removeprefix(b"data: ")) if stream else orjson.loads(content)
        return 200, int(response.headers["x-loraloop-version"].rpartition("@")[2]), said["id"]

    async def _vote(self, session: aiohttp.ClientSession, mark: str, identity: str) -> None:
        about: dict[str, Any] = {"interaction_id": identity}
        votes = [
            about | {"type": "thumbs", "value": True, "metadata": {"mark": f"{mark}-t"}},
            about | {"type": "rating", "value": 4, "metadata": {"mark": f"{mark}-r"}},
        ]
        try:
            async with session.post("/v1/feedback", json=votes) as response:
                if response.status == 202:
                    self.feedback.update(entry["feedback_id"] for entry in await response.json())
                    return
                self.refused_votes[response.status] += 1
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.refused_votes[BROKEN] += 1


def p95(values: list[float]) -> float:
    """The 95th percentile by nearest rank."""
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]
