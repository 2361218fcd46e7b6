"""Simulated users: apps that send requests through the official `openai` client, and raters who rate the answers.

This module counts requests and votes. It does not depend on what the demo measures with them.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
from tokenizers import Tokenizer

from core.prompts import Text, answer_text
from demo.dataset_split import INSTRUCTION, DemoRequest
from demo.ratings import LABELS

CONCURRENCY = 40


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the app saw it: when, which version answered, what, and whether the rater agreed."""

    second: float
    model: str
    version: int
    answer: str
    approved: bool
    failed: str


class SimulatedUsers:
    """Send requests to a gateway, several at once, and rate the answers."""

    def __init__(self, url: str, base: Path, *, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        # No retries: a request that fails is a failed request.
        self._openai = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120)
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
            limits=httpx.Limits(max_connections=CONCURRENCY * 2),
        )
        self._bias = {plain: _only_labels(base, plain) for plain in (True, False)}
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self.acknowledged: Counter[str] = Counter()
        self.labelled: Counter[str] = Counter()
        self.flying: Counter[str] = Counter()
        self.together: Counter[frozenset[str]] = Counter()

    @property
    def now(self) -> float:
        """Seconds since these users were created."""
        return self._clock() - self._started

    def send(
        self, requests: Sequence[DemoRequest], *, tell: Callable[[int], None], until: Callable[[], bool] = lambda: False
    ) -> list[Seen]:
        """Send the requests in order, several at once, and stop once `until` returns True."""
        seen: list[Seen] = []

        def one(request: DemoRequest) -> None:
            if not until():
                found = self._one(request)
                with self._lock:
                    seen.append(found)
                    tell(len(seen))

        with ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(one, requests))
        return sorted(seen, key=lambda s: s.second)

    def _one(self, request: DemoRequest) -> Seen:
        try:
            with self._counted(request.model):
                raw = self._ask(request)
            body = raw.parse()
            choice = body.choices[0]
            answer = (choice.text if request.plain else choice.message.content) or ""
            version = raw.headers["x-loraloop-version"].rpartition("@")[2]
            approved = answer.strip().lower() == request.opinion
            self._react(request, body.id, approved)
            return Seen(self.now, request.model, int(version), answer, approved, "")
        except (openai.OpenAIError, httpx.HTTPError) as error:
            return Seen(self.now, request.model, -1, "", False, f"{type(error).__name__}: {error}")

    def _ask(self, request: DemoRequest) -> Any:
        common: dict[str, Any] = {
            "model": request.model,
            "user": request.user,
            "max_tokens": 1,
            "temperature": 0,
            "logit_bias": self._bias[request.plain],
        }
        if request.plain:
            prompt = f"{request.text.text}\n{INSTRUCTION}"
            return self._openai.completions.with_raw_response.create(prompt=prompt, **common)
        messages: Any = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": request.text.text}]
        return self._openai.chat.completions.with_raw_response.create(messages=messages, **common)

    def _react(self, request: DemoRequest, interaction: str, approved: bool) -> None:
        feedback: list[dict[str, Any]] = [{"interaction_id": interaction, "type": "thumbs", "value": approved}]
        if request.labels:
            feedback.append({"interaction_id": interaction, "type": "label", "value": request.opinion})
        self._http.post("/v1/feedback", json=feedback).raise_for_status()
        with self._lock:
            self.acknowledged[request.model] += len(feedback)
            self.labelled[request.model] += request.labels

    def _counted(self, model: str) -> "_Flight":
        return _Flight(self, model)

    def close(self) -> None:
        """Close the connections."""
        self._openai.close()
        self._http.close()


class _Flight:
    """Count which models' requests are in flight together."""

    def __init__(self, users: SimulatedUsers, model: str) -> None:
        self._users, self._model = users, model

    def __enter__(self) -> None:
        with self._users._lock:
            self._users.flying[self._model] += 1
            self._users.together[frozenset(m for m, n in self._users.flying.items() if n)] += 1

    def __exit__(self, *_: object) -> None:
        with self._users._lock:
            self._users.flying[self._model] -= 1


def _only_labels(base: Path, plain: bool) -> dict[str, int]:
    """Give each label's first token the same large bias, so that the model answers with one of the labels."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    texts = [answer_text(Text("?") if plain else Text(" "), label) for label in LABELS]
    return {str(tokenizer.encode(text, add_special_tokens=False).ids[0]): 100 for text in texts}


def mixed(*streams: Sequence[DemoRequest]) -> list[DemoRequest]:
    """Merge several streams into one, each spread evenly over the whole."""

    def positioned() -> Iterator[tuple[float, int, DemoRequest]]:
        for number, stream in enumerate(streams):
            for index, request in enumerate(stream):
                yield (index + 0.5) / len(stream), number, request

    return [request for _, _, request in sorted(positioned(), key=lambda entry: entry[:2])]


def approval(seen: Sequence[Seen]) -> float:
    """The share of answers that their rater agreed with."""
    return sum(s.approved for s in seen) / len(seen) if seen else float("nan")
