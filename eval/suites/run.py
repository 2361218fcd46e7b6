"""Probing: suites asked of versions through the engine, and what each unit's answer was worth.

It owns the way from a suite to outcomes by arm; intervals and what a gate makes of them are others' business.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from core.errors import AmbiguousLabels
from core.prompts import Prompt
from eval.engine_queries import Progress, Query, QueryRunner, Reply
from eval.kpis.classification import Floats
from eval.measure.labels import Labels
from eval.suites.suite import Choice, Item, Suite

Rewrite = Callable[[Prompt], Prompt]
NO_REWRITES: Mapping[str, Rewrite] = {}


def _as_it_is(prompt: Prompt) -> Prompt:
    return prompt


@dataclass(frozen=True, slots=True)
class SuiteOutcomes:
    """A suite's outcomes by arm, (units,) floats in the order of `suite.units`; or why it could not be asked.

    `cut` is the share of an arm's answers in words that were as long as they might be.
    """

    suite: Suite
    outcomes: dict[str, Floats] = field(default_factory=dict)
    missing: str = ""
    cut: dict[str, float] = field(default_factory=dict)


def run_suite(asker: QueryRunner, base_name: str, arms: Mapping[str, str], suite: Suite,
          progress: Progress = lambda done, total: None, rewrites: Mapping[str, Rewrite] = NO_REWRITES,
          ) -> SuiteOutcomes:  # fmt: skip
    """Asks a suite of all arms (name: name in the engine) in one batch. An answer without scores, or none, is
    worth NaN.

    `rewrites` says how an arm rewrites what it is asked, where it does.
    """
    labels: dict[tuple[object, ...], Labels] = {}
    try:
        asked = [
            [
                _questions(asker, base_name, labels, engine_name, item, rewrites.get(arm, _as_it_is))
                for item in suite.items
            ]
            for arm, engine_name in arms.items()
        ]
    except AmbiguousLabels as error:
        return SuiteOutcomes(suite, missing=str(error))
    # Item by item with the arms side by side, so that a prompt's beginning is still in the engine's cache.
    order = [(arm, place) for place in range(len(suite.items)) for arm in range(len(asked))]
    answers = iter(asker.ask([question for arm, place in order for question in asked[arm][place]], progress))
    found = {pair: [next(answers) for _ in asked[pair[0]][pair[1]]] for pair in order}
    by_arm = {name: [found[arm, place] for place in range(len(suite.items))] for arm, name in enumerate(arms)}
    return SuiteOutcomes(
        suite,
        {
            arm: _outcomes(suite, [_worth(suite, labels, *pair) for pair in zip(suite.items, own, strict=True)])
            for arm, own in by_arm.items()
        },
        cut={arm: _cut(suite.items, own) for arm, own in by_arm.items()},
    )


def _cut(items: Sequence[Item], answers: Sequence[Sequence[Reply]]) -> float:
    pairs = [(got[0], item) for item, got in zip(items, answers, strict=True) if not isinstance(item, Choice)]
    return sum(answer.tokens >= item.max_tokens for answer, item in pairs) / len(pairs) if pairs else 0.0


@dataclass(frozen=True, slots=True)
class _Said:
    """What one item's answer was, for comparison with others, and whether it counts, or its length."""

    what: object
    worth: float


def _questions(asker: QueryRunner, base_name: str, labels: dict[tuple[object, ...], Labels], engine_name: str,
               item: Item, rewrite: Rewrite) -> list[Query]:  # fmt: skip
    prompt = rewrite(item.prompt)
    if isinstance(item, Choice):
        key = (item.choices, item.kinds)
        if key not in labels:
            labels[key] = Labels(asker, base_name, item.choices, item.kinds)
        return labels[key].questions(engine_name, prompt)
    return [Query(engine_name, prompt, max_tokens=item.max_tokens, stop=item.stop)]


def _worth(suite: Suite, labels: Mapping[tuple[object, ...], Labels], item: Item, answers: Sequence[Reply]) -> _Said:
    if any(answer.refused for answer in answers):
        return _Said(None, math.nan)
    if isinstance(item, Choice):
        likely = [math.exp(value) for value in labels[item.choices, item.kinds].log_probabilities(item.prompt, answers)]
        by_kind = dict.fromkeys(item.kinds, 0.0)
        for kind, value in zip(item.kinds, likely, strict=True):
            by_kind[kind] += value
        chosen = max(by_kind, key=by_kind.__getitem__)
        if not by_kind[chosen] > 0:
            return _Said(None, math.nan)
        counting = {kind for text, kind in zip(item.choices, item.kinds, strict=True) if text in item.counts}
        return _Said(chosen, float(chosen in counting))
    text = answers[0].text
    return _Said(text, float(answers[0].tokens if suite.measure == "length" else item.counts(text)))


def _outcomes(suite: Suite, said: Sequence[_Said]) -> Floats:
    groups: dict[str, list[_Said]] = {}
    for item, answer in zip(suite.items, said, strict=True):
        groups.setdefault(item.group, []).append(answer)
    return np.array([_outcome(suite, group) for group in groups.values()], dtype=np.float64)


def _outcome(suite: Suite, group: Sequence[_Said]) -> float:
    worths = [said.worth for said in group]
    if any(math.isnan(worth) for worth in worths):
        return math.nan
    if suite.measure == "every":
        return min(worths)
    if suite.measure == "agreement":
        pairs = [float(a.what == b.what) for a, b in combinations(group, 2)]
        return sum(pairs) / len(pairs)
    return sum(worths) / len(worths)
