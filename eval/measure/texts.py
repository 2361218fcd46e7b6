"""Generation: answers in words of all arms, held against references.

It owns how they are asked for and measured; what a KPI of two texts is stands in `eval.kpis.text`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.prompts import Prompt
from eval.arms import Arm
from eval.engine_queries import Progress, Query, QueryRunner
from eval.kpis import classification
from eval.kpis.classification import Floats, Ints
from eval.kpis.evidence import Difference, Evidence, Measure, difference, first_token, latencies, latency
from eval.kpis.text import REFERENCE
from eval.measure.latency import times


@dataclass(frozen=True, slots=True)
class Written:
    """What one arm wrote to n prompts, with what each answer is worth by KPI, (n,) floats in 0..1.

    `latency_ms` are one-at-a-time times of some prompts, `first_ms` those of the first token of their answers.
    """

    texts: tuple[str, ...]
    worth: dict[str, Floats]
    tokens: Ints
    prompt_tokens: Ints
    latency_ms: Floats
    first_ms: Floats = field(default_factory=lambda: np.zeros(0))


def write(
    asker: QueryRunner,
    arms: Sequence[Arm],
    items: Sequence[tuple[Prompt, str]],
    *,
    max_tokens: int,
    latency_items: int = 0,
    progress: Progress = lambda done, total: None,
) -> dict[str, Written]:
    """Answers of all arms to (prompt, reference) items in one mixed batch, then some timed one at a time."""
    asked = [Query(arm.engine_name, arm.rewrite(prompt), max_tokens=max_tokens) for prompt, _ in items for arm in arms]
    answers = asker.ask(asked, progress)
    timed = asked[: latency_items * len(arms)]
    taken = _timed(asker, arms, timed)
    first = _timed(asker, arms, [replace(question, max_tokens=1) for question in timed])
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
            first_ms=first[arm.name],
        )
    return found


def _timed(asker: QueryRunner, arms: Sequence[Arm], asked: Sequence[Query]) -> dict[str, Floats]:
    """Milliseconds by arm, of questions that the arms are asked in turn."""
    own = {arm.name: [[question] for question in asked[place :: len(arms)]] for place, arm in enumerate(arms)}
    return times(asker.client, own)


def measure(
    users: Ints,
    arms: Mapping[str, Written],
    *,
    primary: str,
    primary_level: float,
    level: float,
    resamples: int,
    seed: int,
    holdout_use: int = 1,
) -> Evidence:
    """Evidence of answers in words; each KPI is a mean over items, resampled over users (n,)."""
    drawn = int(users.max()) + 1
    means = {(arm, kpi): values for arm, found in arms.items() for kpi, values in _means(found).items()}
    samples = classification.bootstrap(
        {key: classification.mean_of(values) for key, values in means.items()}, users, resamples, seed
    )
    differences: dict[str, dict[str, Difference]] = {}
    if "candidate" in arms:
        ours = arms["candidate"]
        for kpi, worth in ours.worth.items():
            at = primary_level if kpi == primary else level
            differences[kpi] = {
                arm: difference(worth, other.worth[kpi], samples["candidate", kpi] - samples[arm, kpi], drawn, at)
                for arm, other in arms.items()
                if arm != "candidate"
            }
    return Evidence(
        n=len(users),
        users=drawn,
        arms={
            arm: {
                kpi: Measure(float(values.mean()), *classification.interval(samples[arm, kpi], drawn))
                for kpi, values in _means(found).items()
            }
            | latencies(found.latency_ms)
            | first_token(found.first_ms)
            for arm, found in arms.items()
        },
        differences=differences,
        confusion={},
        holdout_use=holdout_use,
        relative=latency({arm: found.latency_ms for arm, found in arms.items()}, level, resamples, seed),
    )


def _means(found: Written) -> dict[str, Floats]:
    """What is a mean over items."""
    return found.worth | {
        "answer_tokens": found.tokens.astype(np.float64),
        "prompt_tokens": found.prompt_tokens.astype(np.float64),
    }
