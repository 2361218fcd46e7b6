"""Scoring: every arm's answer to every item, through the engine that will serve.

It owns concurrency, order and timing; it must not know which arm is meant to win.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from core.errors import NotReady
from core.prompts import Prompt, Text, answer_text
from eval.arms import Arm, Item
from eval.evidence import ArmScores
from serve.vllm import Scores, VllmClient

Progress = Callable[[int, int], None]


class Labels:
    """The token that begins each label, after chat and after plain text."""

    def __init__(self, client: VllmClient, base_name: str, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        shapes: dict[bool, Prompt] = {True: Text("Answer:"), False: _CHAT}
        self._tokens = {
            shape: [client.first_token(base_name, answer_text(prompt, label)) for label in labels]
            for shape, prompt in shapes.items()
        }
        for tokens in self._tokens.values():
            if len(set(tokens)) != len(tokens):
                raise NotReady(
                    f"Two of the labels {', '.join(labels)} begin with the same token of the base model.",
                    hint="One token cannot tell them apart; rename one.",
                )

    def tokens(self, prompt: Prompt) -> list[int]:
        """The tokens to score after this prompt, one a label."""
        spaced = isinstance(prompt, Text) and not prompt.text[-1:].isspace()
        return self._tokens[spaced]


_CHAT = Text("Answer: ")


def score(client: VllmClient, arms: Sequence[Arm], items: Sequence[Item], labels: Labels, *, concurrency: int,
          latency_items: int = 0, progress: Progress = lambda done, total: None) -> dict[str, ArmScores]:  # fmt: skip
    """Scores all arms in one mixed batch, then times some items one at a time with the arms interleaved.

    A label's probability is renormalised over the labels; what the labels do not hold is 1 − mass.
    """
    work = [(arm, item) for item in items for arm in arms]
    done, lock = 0, threading.Lock()

    def one(pair: tuple[Arm, Item]) -> Scores:
        nonlocal done
        found = _ask(client, pair[0], pair[1], labels)
        with lock:
            done += 1
            progress(done, len(work))
        return found

    with ThreadPoolExecutor(concurrency) as pool:
        found = list(pool.map(one, work))
    times = _time(client, arms, items[:latency_items], labels)
    return {arm.name: _gather(found[place :: len(arms)], times[arm.name]) for place, arm in enumerate(arms)}


def _ask(client: VllmClient, arm: Arm, item: Item, labels: Labels) -> Scores:
    prompt = arm.rewrite(item.prompt)
    return client.score(arm.engine_name, prompt, labels.tokens(prompt))


def _time(client: VllmClient, arms: Sequence[Arm], items: Sequence[Item], labels: Labels) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {arm.name: [] for arm in arms}
    for item in items:
        for arm in arms:
            started = time.perf_counter()
            _ask(client, arm, item, labels)
            times[arm.name].append((time.perf_counter() - started) * 1000)
    return times


def _gather(scores: Sequence[Scores], times: Sequence[float]) -> ArmScores:
    logprobs = np.array([s.logprobs for s in scores], dtype=np.float64)
    shifted = np.exp(logprobs - logprobs.max(1, keepdims=True))
    return ArmScores(
        probabilities=shifted / shifted.sum(1, keepdims=True),
        mass=np.minimum(np.exp(logprobs).sum(1), 1.0),
        prompt_tokens=np.array([s.prompt_tokens for s in scores], dtype=np.int64),
        latency_ms=np.array(times, dtype=np.float64),
    )
