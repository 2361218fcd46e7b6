"""Measure answers in words: every arm's answers, compared with references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.prompts import Prompt
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, Generate
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, interval, mean_of, resample
from eval.kpis.comparison import difference, first_token_latency, latencies, latency_ratio
from eval.kpis.evidence import Difference, Evidence, Measure
from eval.kpis.text import REFERENCE
from eval.measure.latency import measure_latency


@dataclass(frozen=True, slots=True)
class ArmTexts:
    """One arm's answers to n prompts, and each answer's score by KPI, (n,) floats in 0..1.

    `latency_ms` holds the latency of some prompts, sent one at a time. `first_ms` is the time until the first token.
    """

    texts: tuple[str, ...]
    scores: dict[str, Floats]
    tokens: Ints
    prompt_tokens: Ints
    latency_ms: Floats
    first_ms: Floats = field(default_factory=lambda: np.zeros(0))


def write_answers(
    engine: EngineContext,
    arms: Sequence[Arm],
    items: Sequence[tuple[Prompt, str]],
    *,
    max_tokens: int,
    latency_items: int = 0,
) -> dict[str, ArmTexts]:
    """Let all arms answer (prompt, reference) items in one mixed batch, then time some items one at a time."""
    count = len(arms)
    queries = [Generate(arm.engine_name, arm.rewrite(prompt), max_tokens) for prompt, _ in items for arm in arms]
    replies = engine.run(queries)
    timed = queries[: latency_items * count]
    times = _latency_by_arm(engine, arms, timed)
    first_times = _latency_by_arm(engine, arms, [replace(query, max_tokens=1) for query in timed])
    texts = {}
    for index, arm in enumerate(arms):
        answers = replies[index::count]
        pairs = [(answer.text, reference) for answer, (_, reference) in zip(answers, items, strict=True)]
        texts[arm.name] = ArmTexts(
            texts=tuple(answer.text for answer in answers),
            scores={kpi: np.array([score(*pair) for pair in pairs]) for kpi, score in REFERENCE.items()},
            tokens=np.array([answer.tokens for answer in answers], dtype=np.int64),
            prompt_tokens=np.array([answer.prompt_tokens for answer in answers], dtype=np.int64),
            latency_ms=times[arm.name],
            first_ms=first_times[arm.name],
        )
    return texts


def _latency_by_arm(engine: EngineContext, arms: Sequence[Arm], queries: Sequence[Generate]) -> dict[str, Floats]:
    """Milliseconds by arm, from queries in which the arms take turns."""
    by_arm = {arm.name: [[query] for query in queries[index :: len(arms)]] for index, arm in enumerate(arms)}
    return measure_latency(engine.runner.client, by_arm)


def compare_texts(users: Ints, arms: Mapping[str, ArmTexts], plan: BootstrapPlan, *, holdout_use: int = 1) -> Evidence:
    """Compare the arms' answers in words. Each KPI is a mean over items, resampled over users (n,)."""
    units = int(users.max()) + 1
    values = {(arm, kpi): array for arm, texts in arms.items() for kpi, array in _item_values(texts).items()}
    samples = resample({key: mean_of(array) for key, array in values.items()}, users, plan)
    differences: dict[str, dict[str, Difference]] = {}
    if "candidate" in arms:
        for kpi, ours in arms["candidate"].scores.items():
            level = plan.level_of(kpi)
            differences[kpi] = {
                arm: difference(ours, other.scores[kpi], samples["candidate", kpi] - samples[arm, kpi], units, level)
                for arm, other in arms.items()
                if arm != "candidate"
            }
    return Evidence(
        n=len(users),
        users=units,
        arms={
            arm: {
                kpi: Measure(float(array.mean()), *interval(samples[arm, kpi], units))
                for kpi, array in _item_values(texts).items()
            }
            | latencies(texts.latency_ms)
            | first_token_latency(texts.first_ms)
            for arm, texts in arms.items()
        },
        differences=differences,
        confusion={},
        holdout_use=holdout_use,
        relative=latency_ratio({arm: texts.latency_ms for arm, texts in arms.items()}, plan),
    )


def _item_values(texts: ArmTexts) -> dict[str, Floats]:
    """The values per item whose means are KPIs."""
    return texts.scores | {
        "answer_tokens": texts.tokens.astype(np.float64),
        "prompt_tokens": texts.prompt_tokens.astype(np.float64),
    }
