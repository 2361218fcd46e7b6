"""Run suites: send a suite's items to every arm, and score the answers by group."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from core.errors import AmbiguousLabels
from core.settings import ModelSettings
from eval.arm_definitions import Arm
from eval.context import bootstrap_plan
from eval.engine_queries import EngineContext, Generate, Query, Reply
from eval.kpis.arrays import Floats
from eval.kpis.comparison import compare_outcomes
from eval.kpis.evidence import SuiteEvidence
from eval.measure.labels import Labels
from eval.suites.suite import Choice, Item, Suite

LabelCache = dict[tuple[object, ...], Labels]
# If more of both versions' answers are cut, their lengths show no difference.
MOST_CUT = 0.2


@dataclass(frozen=True, slots=True)
class SuiteOutcomes:
    """A suite's outcomes by arm, (units,) floats in the order of `suite.units`, or why it could not be measured.

    `cut` is the share of an arm's written answers that reached their maximum length.
    """

    suite: Suite
    outcomes: dict[str, Floats] = field(default_factory=dict)
    missing: str = ""
    cut: dict[str, float] = field(default_factory=dict)


def run_suite(engine: EngineContext, arms: Sequence[Arm], suite: Suite) -> SuiteOutcomes:
    """Run a suite on all arms in one batch. An answer that is refused or has no score makes its group NaN."""
    labels: LabelCache = {}
    try:
        queries = {
            (arm.name, index): _queries(engine, labels, arm, item)
            for index, item in enumerate(suite.items)
            for arm in arms
        }
    except AmbiguousLabels as error:
        return SuiteOutcomes(suite, missing=str(error))
    # All arms answer an item in turn, so that the engine's cache still has the prompt's beginning.
    replies = iter(engine.run([query for item_queries in queries.values() for query in item_queries]))
    by_key = {key: [next(replies) for _ in item_queries] for key, item_queries in queries.items()}
    by_arm = {arm.name: [by_key[arm.name, index] for index in range(len(suite.items))] for arm in arms}
    return SuiteOutcomes(
        suite,
        {
            name: _outcomes(suite, [_score(suite, labels, *pair) for pair in zip(suite.items, own, strict=True)])
            for name, own in by_arm.items()
        },
        cut={name: _cut_share(suite.items, own) for name, own in by_arm.items()},
    )


def suite_evidence(result: SuiteOutcomes, settings: ModelSettings) -> SuiteEvidence:
    """The evidence from a suite's outcomes."""
    suite = result.suite
    missing = result.missing or _lengths_hidden(result)
    if missing:
        return SuiteEvidence(suite.kpi, 0, {}, missing=missing, better=suite.better)
    return compare_outcomes(suite.kpi, result.outcomes, bootstrap_plan(settings), better=suite.better)


def _lengths_hidden(result: SuiteOutcomes) -> str:
    """Why a change in length would not show. Empty if it would."""
    shares = [result.cut[arm] for arm in ("champion", "candidate") if arm in result.cut]
    if result.suite.measure != "length" or len(shares) < 2 or min(shares) <= MOST_CUT:
        return ""
    return (
        f"at least {min(shares):.0%} of both versions' answers to {result.suite.name} were cut, so that a change "
        "in length would not show; raise its max_tokens, or waive it"
    )


def _cut_share(items: Sequence[Item], replies: Sequence[Sequence[Reply]]) -> float:
    written = [(got[0], item) for item, got in zip(items, replies, strict=True) if not isinstance(item, Choice)]
    return sum(reply.tokens >= item.max_tokens for reply, item in written) / len(written) if written else 0.0


def _queries(engine: EngineContext, labels: LabelCache, arm: Arm, item: Item) -> Sequence[Query]:
    prompt = arm.rewrite(item.prompt)
    if isinstance(item, Choice):
        key = (item.choices, item.kinds)
        if key not in labels:
            labels[key] = Labels(engine, item.choices, item.kinds)
        return labels[key].queries(arm.engine_name, prompt)
    return [Generate(arm.engine_name, prompt, item.max_tokens, item.stop)]


@dataclass(frozen=True, slots=True)
class _Scored:
    """The answer to one item, for comparison with others, and its score: whether it counts, or its length."""

    answer: object
    score: float


def _score(suite: Suite, labels: Mapping[tuple[object, ...], Labels], item: Item, replies: Sequence[Reply]) -> _Scored:
    if any(reply.refused for reply in replies):
        return _Scored(None, math.nan)
    if isinstance(item, Choice):
        likely = [math.exp(value) for value in labels[item.choices, item.kinds].log_probabilities(item.prompt, replies)]
        by_kind = dict.fromkeys(item.kinds, 0.0)
        for kind, value in zip(item.kinds, likely, strict=True):
            by_kind[kind] += value
        chosen = max(by_kind, key=by_kind.__getitem__)
        if not by_kind[chosen] > 0:
            return _Scored(None, math.nan)
        counting = {kind for text, kind in zip(item.choices, item.kinds, strict=True) if text in item.counts}
        return _Scored(chosen, float(chosen in counting))
    text = replies[0].text
    return _Scored(text, float(replies[0].tokens if suite.measure == "length" else item.counts(text)))


def _outcomes(suite: Suite, scored: Sequence[_Scored]) -> Floats:
    groups: dict[str, list[_Scored]] = {}
    for item, answer in zip(suite.items, scored, strict=True):
        groups.setdefault(item.group, []).append(answer)
    return np.array([_group_outcome(suite, group) for group in groups.values()], dtype=np.float64)


def _group_outcome(suite: Suite, group: Sequence[_Scored]) -> float:
    scores = [scored.score for scored in group]
    if any(math.isnan(score) for score in scores):
        return math.nan
    if suite.measure == "every":
        return min(scores)
    if suite.measure == "agreement":
        pairs = [float(a.answer == b.answer) for a, b in combinations(group, 2)]
        return sum(pairs) / len(pairs)
    return sum(scores) / len(scores)
