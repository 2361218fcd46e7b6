"""Traffic: apps that ask through the official `openai` client, and raters who react to the answers.

It owns what an app does and counts what came of it; it must not know what is being proved.
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
    """Plays acts against a gateway, several at once."""

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
        self.flying: Counter[str] = Counter()
        self.together: Counter[frozenset[str]] = Counter()

    @property
    def now(self) -> float:
        """Seconds since the crowd came together."""
        return self._clock() - self._started

    def play(
        self, acts: Sequence[DemoRequest], *, tell: Callable[[int], None], until: Callable[[], bool] = lambda: False
    ) -> list[Seen]:
        """Plays the acts in order, some at a time, and stops taking new ones once `until` says so."""
        seen: list[Seen] = []

        def one(act: DemoRequest) -> None:
            if not until():
                found = self._one(act)
                with self._lock:
                    seen.append(found)
                    tell(len(seen))

        with ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(one, acts))
        return sorted(seen, key=lambda s: s.second)

    def _one(self, act: DemoRequest) -> Seen:
        try:
            with self._counted(act.model):
                raw = self._ask(act)
            body = raw.parse()
            choice = body.choices[0]
            answer = (choice.text if act.plain else choice.message.content) or ""
            version = raw.headers["x-loraloop-version"].rpartition("@")[2]
            approved = answer.strip().lower() == act.opinion
            self._react(act, body.id, approved)
            return Seen(self.now, act.model, int(version), answer, approved, "")
        except (openai.OpenAIError, httpx.HTTPError) as error:
            return Seen(self.now, act.model, -1, "", False, f"{type(error).__name__}: {error}")

    def _ask(self, act: DemoRequest) -> Any:
        common: dict[str, Any] = {
            "model": act.model,
            "user": act.user,
            "max_tokens": 1,
            "temperature": 0,
            "logit_bias": self._bias[act.plain],
        }
        if act.plain:
            prompt = f"{act.text.text}\n{INSTRUCTION}"
            return self._openai.completions.with_raw_response.create(prompt=prompt, **common)
        messages: Any = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": act.text.text}]
        return self._openai.chat.completions.with_raw_response.create(messages=messages, **common)

    def _react(self, act: DemoRequest, interaction: str, approved: bool) -> None:
        said: list[dict[str, Any]] = [{"interaction_id": interaction, "type": "thumbs", "value": approved}]
        if act.labels:
            said.append({"interaction_id": interaction, "type": "label", "value": act.opinion})
        self._http.post("/v1/feedback", json=said).raise_for_status()
        with self._lock:
            self.acknowledged[act.model] += len(said)

    def _counted(self, model: str) -> "_Flight":
        return _Flight(self, model)

    def close(self) -> None:
        """Closes the connections."""
        self._openai.close()
        self._http.close()


class _Flight:
    """Counts which models' requests are in flight together."""

    def __init__(self, crowd: SimulatedUsers, model: str) -> None:
        self._crowd, self._model = crowd, model

    def __enter__(self) -> None:
        with self._crowd._lock:
            self._crowd.flying[self._model] += 1
            self._crowd.together[frozenset(m for m, n in self._crowd.flying.items() if n)] += 1

    def __exit__(self, *_: object) -> None:
        with self._crowd._lock:
            self._crowd.flying[self._model] -= 1


def _only_labels(base: Path, plain: bool) -> dict[str, int]:
    """OpenAI's way to make a model answer with one of a few words: the same large bias for each of them."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    texts = [answer_text(Text("?") if plain else Text(" "), label) for label in LABELS]
    return {str(tokenizer.encode(text, add_special_tokens=False).ids[0]): 100 for text in texts}


def mixed(*streams: Sequence[DemoRequest]) -> list[DemoRequest]:
    """Several streams as one, each spread evenly over the whole."""

    def placed() -> Iterator[tuple[float, int, DemoRequest]]:
        for number, stream in enumerate(streams):
            for place, act in enumerate(stream):
                yield (place + 0.5) / len(stream), number, act

    return [act for _, _, act in sorted(placed(), key=lambda entry: entry[:2])]


def approval(seen: Sequence[Seen]) -> float:
    """The share of answers that their rater agreed with."""
    return sum(s.approved for s in seen) / len(seen) if seen else float("nan")
