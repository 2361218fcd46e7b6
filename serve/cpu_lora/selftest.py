"""Test on a running engine whether adapters in the same batch change the base model's answers.

It uses only the standard library.
"""

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

PROMPTS = (
    "The capital of France is",
    "Water boils at a temperature of",
    "A short poem about the sea:\n",
    "To bake bread you first need to",
    "The three primary colours are",
    "def add(a, b):\n    return",
    "Once upon a time there was a",
    "My favourite season of the year is",
)

ROUNDS = 3
"""Batches without adapters that an answer may agree with; in bfloat16 near-ties flip by shape."""

Ask = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""Asks (model, prompt) pairs all at once, greedily, and returns the answers in their order."""


@dataclass(frozen=True)
class SelfTest:
    """What the test found, and how many base answers it compared."""

    ok: bool
    reason: str
    prompts: int


def compare(ask: Ask, base: str, adapters: Sequence[str], prompts: Sequence[str]) -> SelfTest:
    """Compare base answers in a mixed batch with those of batches of its shape without adapters.

    Every prompt is in each batch twice: for the base model, and for an adapter. In the batches to
    compare with, both are for the base model. Another batch shape would not do as
    the reference: rounding differs by shape, and with it now and then a greedy token.

    Args:
        ask: asks a batch.
        base: the base model's name.
        adapters: names of loaded adapters, at least one. Stock vLLM gives the base model the last
            slot's adapter, so name as many as the engine has slots to be sure to see it.
        prompts: at least one.
    """
    names = [adapters[number % len(adapters)] for number in range(len(prompts))]
    plain = [(base, prompt) for prompt in prompts for _ in range(2)]
    mixed = [
        question for name, prompt in zip(names, prompts, strict=True) for question in ((base, prompt), (name, prompt))
    ]
    answers = ask(mixed)[::2]
    known: list[set[str]] = [set() for _ in prompts]
    changed = list(range(len(prompts)))
    for _ in range(ROUNDS):
        for number, answer in enumerate(ask(plain)):
            known[number // 2].add(answer)
        changed = [number for number in changed if answers[number] not in known[number]]
        if not changed:
            break
    if not changed:
        reason = f"all {len(prompts)} base answers with {len(set(names))} adapters in the batch are unchanged"
        return SelfTest(True, reason, len(prompts))
    first = changed[0]
    reason = (
        f"{len(changed)} of {len(prompts)} base answers change with adapters in the batch: to "
        f"{prompts[first]!r} the base model says {min(known[first])!r} among its own, and "
        f"{answers[first]!r} with {names[first]}"
    )
    return SelfTest(False, reason, len(prompts))


def asker(url: str, *, headers: Mapping[str, str] | None = None, max_tokens: int = 16, timeout: float = 120.0) -> Ask:
    """An `Ask` for the OpenAI server at `url` (without /v1); `timeout` in seconds, per answer.

    `headers` are sent with each question, for example a key. Proxies of the environment are not used.
    It raises `OSError` where the engine does not answer, or answers with an error.
    """

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def complete(question: tuple[str, str]) -> str:
        model, prompt = question
        body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
        request = urllib.request.Request(
            f"{url}/v1/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        with opener.open(request, timeout=timeout) as response:
            return json.load(response)["choices"][0]["text"]

    def ask(questions: Sequence[tuple[str, str]]) -> list[str]:
        with ThreadPoolExecutor(len(questions)) as pool:
            return list(pool.map(complete, questions))

    return ask


def check_engine(url: str, base: str, adapters: Sequence[str], headers: Mapping[str, str] | None = None) -> SelfTest:
    """Compare on the engine at `url` with a few built-in prompts; takes seconds."""
    return compare(asker(url, headers=headers), base, adapters, PROMPTS)
