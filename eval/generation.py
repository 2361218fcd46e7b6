"""Generation: answers in words of all arms, held against references.

It owns how they are asked for and measured; what a KPI of two texts is stands in `eval.texts`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.prompts import Prompt
from eval import kpis
from eval.arms import Arm
from eval.asking import Asker, Progress, Question
from eval.evidence import Difference, Evidence, Measure, difference, latency
from eval.kpis import Floats, Ints
from eval.texts import REFERENCE
from eval.timing import times


@dataclass(frozen=True, slots=True)
class Written:
    """What one arm wrote to n prompts, with what each answer is worth by KPI, (n,) floats in 0..1.

    `latency_ms` are one-at-a-time times of some prompts.
    """

    texts: tuple[str, ...]
    worth: dict[str, Floats]
    tokens: Ints
    prompt_tokens: Ints
    latency_ms: Floats


def write(asker: Asker, arms: Sequence[Arm], items: Sequence[tuple[Prompt, str]], *, max_tokens: int,
          latency_items: int = 0, progress: Progress = lambda done, total: None) -> dict[str, Written]:  # fmt: skip
    """Answers of all arms to (prompt, reference) items in one mixed batch, then some timed one at a time."""
    asked = [
        Question(arm.engine_name, arm.rewrite(prompt), max_tokens=max_tokens) for prompt, _ in items for arm in arms
    ]
    answers = asker.ask(asked, progress)
    timed = asked[: latency_items * len(arms)]
    taken = times(
        asker.client,
        {arm.name: [[question] for question in timed[place :: len(arms)]] for place, arm in enumerate(arms)},
    )
    found = {}
    for place, arm in enumerate(arms):
        own = answers[place :: len(arms)]
        pairs = [(answer.text, reference) for answer, (_, reference) in zip(own, items, strict=True)]
        found[arm.name] = Written(
            texts=tuple(answer.text for answer in own),
            worth={kpi: np.array([worth(*pair) for pair in pairs]) for kpi, worth in REFERENCE.items()},
            tokens=np.array([answer.tokens for answer in own], dtype=np.int64),
            prompt_tokens=np.array([answer.prompt_tokens for answer in own], dtype=np.int64),
            latency_ms=taken[arm.name],
        )
    return found


def measure(users: Ints, arms: Mapping[str, Written], *, primary: str, primary_level: float, level: float,
            resamples: int, seed: int, holdout_use: int = 1) -> Evidence:  # fmt: skip
    """Evidence of answers in words; each KPI is a mean over items, resampled over users (n,)."""
    weights = kpis.user_weights(users, resamples, seed)
    samples = {
        arm: {kpi: weights @ worth / weights.sum(1) for kpi, worth in found.worth.items()}
        for arm, found in arms.items()
    }
    differences: dict[str, dict[str, Difference]] = {}
    if "candidate" in arms:
        ours = arms["candidate"]
        for kpi, worth in ours.worth.items():
            at = primary_level if kpi == primary else level
            differences[kpi] = {
                arm: difference(worth, other.worth[kpi], weights, at)
                for arm, other in arms.items()
                if arm != "candidate"
            }
    return Evidence(
        n=len(users),
        users=int(users.max()) + 1,
        arms={arm: _measures(found, samples[arm]) for arm, found in arms.items()},
        differences=differences,
        confusion={},
        holdout_use=holdout_use,
        relative=latency({arm: found.latency_ms for arm, found in arms.items()}, level, resamples, seed),
    )


def _measures(found: Written, samples: Mapping[str, Floats]) -> dict[str, Measure]:
    measures = {kpi: Measure(float(worth.mean()), *kpis.interval(samples[kpi])) for kpi, worth in found.worth.items()}
    measures["answer_tokens"] = _plain(found.tokens.mean())
    measures["prompt_tokens"] = _plain(found.prompt_tokens.mean())
    if len(found.latency_ms):
        for name, q in (("p50_latency_ms", 50), ("p95_latency_ms", 95)):
            measures[name] = _plain(np.percentile(found.latency_ms, q))
    return measures


def _plain(value: "float | np.floating") -> Measure:
    return Measure(float(value), math.nan, math.nan)
