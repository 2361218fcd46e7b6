"""Measure answers in words: every arm's answers, compared with references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.answers import as_canonical, json_in
from core.prompt_fields import fields_text
from core.prompts import Prompt, max_tokens_of, schema_of, template_options, tools_of
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, Generate
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, bounds, interval, mean_of, resample
from eval.kpis.comparison import difference, first_token_latency, latencies, latency_ratio
from eval.kpis.evidence import Difference, Evidence, Measure
from eval.kpis.structured import STRUCTURED, equal_values, is_structured
from eval.kpis.text import REFERENCE
from eval.kpis.tools import TOOL_F1, ToolCalls, tool_calls
from eval.measure.latency import measure_latency

NO_CALL = {"tool_choice": "none"}
# The limit in tokens of an answer in JSON or calls of tools whose request has none. One that is cut is never valid.
FORM_TOKENS = 1024


def answer_limit(prompt: Prompt, max_tokens: int) -> int:
    """How many tokens an answer may have: the request's own limit, and for free text no more than `max_tokens`."""
    own = max_tokens_of(prompt)
    if schema_of(prompt) is None and not tools_of(prompt):
        return min(own or max_tokens, max_tokens)
    return own or FORM_TOKENS


@dataclass(frozen=True, slots=True)
class ArmTexts:
    """One arm's answers to n prompts, and each answer's score by KPI, (n,) floats in 0..1.

    A score is NaN for an item that has no such KPI. `tools` are the tools that reference and answer call first, for
    items with tools. KPIs that no item has are not there.
    `latency_ms` holds the latency of some prompts, sent one at a time. `first_ms` is the time until the first token.
    """

    texts: tuple[str, ...]
    scores: dict[str, Floats]
    tokens: Ints
    prompt_tokens: Ints
    latency_ms: Floats
    first_ms: Floats = field(default_factory=lambda: np.zeros(0))
    tools: ToolCalls | None = None


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
    queries = [
        Generate(arm.engine_name, arm.rewrite(prompt), answer_limit(prompt, max_tokens))
        for prompt, _ in items
        for arm in arms
    ]
    replies = engine.run(queries)
    timed = queries[: latency_items * count]
    times = _latency_by_arm(engine, arms, timed)
    first_times = _latency_by_arm(engine, arms, [_first_token(query) for query in timed])
    texts = {}
    for index, arm in enumerate(arms):
        answers = replies[index::count]
        compared = [
            (prompt, answer.text, reference) for answer, (prompt, reference) in zip(answers, items, strict=True)
        ]
        texts[arm.name] = ArmTexts(
            texts=tuple(answer.text for answer in answers),
            scores=score_answers(compared),
            tokens=np.array([answer.tokens for answer in answers], dtype=np.int64),
            prompt_tokens=np.array([answer.prompt_tokens for answer in answers], dtype=np.int64),
            latency_ms=times[arm.name],
            first_ms=first_times[arm.name],
            tools=tool_calls(compared),
        )
    return texts


def score_answers(answers: Sequence[tuple[Prompt, str, str]]) -> dict[str, Floats]:
    """Each KPI of (prompt, answer, reference) items, (n,). Values in JSON are compared as such, texts by words."""
    scores = {kpi: np.array([score(*words_of(item)) for item in answers]) for kpi, score in REFERENCE.items()}
    by_value = [is_structured(prompt, reference) for prompt, _, reference in answers]
    equal = [equal_values(answer, reference) for _, answer, reference in answers]
    scores["exact_match"] = np.where(by_value, equal, scores["exact_match"])
    structured = {kpi: np.array([score(*item) for item in answers]) for kpi, score in STRUCTURED.items()}
    return scores | {kpi: values for kpi, values in structured.items() if np.isfinite(values).any()}


def words_of(item: tuple[Prompt, str, str]) -> tuple[str, str]:
    """Answer and reference as texts to compare; where both are JSON, in one form."""
    _, answer, reference = item
    mine, wanted = json_in(answer), json_in(reference)
    return (answer, reference) if mine is None or wanted is None else (as_canonical(mine), as_canonical(wanted))


def _first_token(query: Generate) -> Generate:
    """The query for one token. Nothing can be called in one token, so tools are only in its prompt."""
    prompt = replace(query.prompt, options=fields_text(template_options(query.prompt) | NO_CALL))
    return replace(query, prompt=prompt if tools_of(prompt) else query.prompt, max_tokens=1)


def _latency_by_arm(engine: EngineContext, arms: Sequence[Arm], queries: Sequence[Generate]) -> dict[str, Floats]:
    """Milliseconds by arm, from queries in which the arms take turns."""
    by_arm = {arm.name: [[query] for query in queries[index :: len(arms)]] for index, arm in enumerate(arms)}
    return measure_latency(engine.runner.client, by_arm)


def compare_texts(users: Ints, arms: Mapping[str, ArmTexts], plan: BootstrapPlan, *, holdout_use: int = 1) -> Evidence:
    """Compare the arms' answers in words. Each KPI is a mean over items, resampled over users (n,)."""
    units = int(users.max()) + 1
    values = {(arm, kpi): array for arm, texts in arms.items() for kpi, array in _item_values(texts).items()}
    statistics = {key: mean_of(array) for key, array in values.items()}
    statistics |= {(arm, TOOL_F1): texts.tools.f1 for arm, texts in arms.items() if texts.tools}
    samples = resample(statistics, users, plan)
    differences: dict[str, dict[str, Difference]] = {}
    if "candidate" in arms:
        for kpi, ours in arms["candidate"].scores.items():
            level = plan.level_of(kpi)
            differences[kpi] = {
                arm: difference(ours, other.scores[kpi], samples["candidate", kpi] - samples[arm, kpi], units, level)
                for arm, other in arms.items()
                if arm != "candidate"
            }
        differences |= _tool_differences(arms, samples, units, plan)
    return Evidence(
        n=len(users),
        users=units,
        arms={
            arm: {
                kpi: Measure(float(np.nanmean(array)), *interval(samples[arm, kpi], units))
                for kpi, array in _item_values(texts).items()
            }
            | ({TOOL_F1: Measure(texts.tools.value, *interval(samples[arm, TOOL_F1], units))} if texts.tools else {})
            | latencies(texts.latency_ms)
            | first_token_latency(texts.first_ms)
            for arm, texts in arms.items()
        },
        differences=differences,
        confusion={},
        holdout_use=holdout_use,
        relative=latency_ratio({arm: texts.latency_ms for arm, texts in arms.items()}, plan),
    )


def _tool_differences(
    arms: Mapping[str, ArmTexts], samples: Mapping[tuple[str, str], Floats], units: int, plan: BootstrapPlan
) -> dict[str, dict[str, Difference]]:
    """The candidate's differences in the F1 of tools, none without items that have tools."""
    ours, level = arms["candidate"].tools, plan.level_of(TOOL_F1)
    found = {
        arm: Difference(
            ours.value - other.tools.value,
            *bounds(samples["candidate", TOOL_F1] - samples[arm, TOOL_F1], units, level),
            level,
        )
        for arm, other in arms.items()
        if ours and other.tools and arm != "candidate"
    }
    return {TOOL_F1: found} if found else {}


def _item_values(texts: ArmTexts) -> dict[str, Floats]:
    """The values per item whose means are KPIs."""
    return texts.scores | {
        "answer_tokens": texts.tokens.astype(np.float64),
        "prompt_tokens": texts.prompt_tokens.astype(np.float64),
    }
