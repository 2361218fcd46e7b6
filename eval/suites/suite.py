"""A suite: items with one way to count their answers, and where they come from.

It owns the shape that shipped and user-written suites share; it must not know arms or engines.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import jsonschema

from core.prompts import Chat, Prompt
from eval.kpis.classification import Better
from eval.kpis.text import exact_match

Measure = Literal["share", "every", "agreement", "length"]
"""How answers become the values of units, whose mean is the KPI. A unit is a group of items, often of one.

share: 1 for an item whose answer counts. every: 1 for a group all of whose answers count. agreement: the share
of a group's pairs that have the same answer. length: an answer's length in tokens.
"""
WRITTEN = "written for LoraLoop"
LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Choice:
    """A prompt with a fixed set of answers, and those that count; the likeliest answer is the item's.

    `kinds` numbers the answers by what they mean, where several mean the same.
    """

    group: str
    prompt: Prompt
    choices: tuple[str, ...]
    counts: tuple[str, ...]
    kinds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Writing:
    """A prompt that is answered in words; the answer counts where it is as wanted.

    Wanted is a JSON document that fits `schema`, as JSON text, a text that `pattern` matches as a whole, or the
    text of `reference`, whatever its case, spaces and punctuation.
    """

    group: str
    prompt: Prompt
    max_tokens: int
    stop: tuple[str, ...] = ()
    schema: str | None = None
    pattern: str | None = None
    reference: str | None = None

    def counts(self, text: str) -> bool:
        """Whether the answer is as wanted."""
        if self.schema is not None:
            return _fits(text, json.loads(self.schema))
        if self.reference is not None:
            return exact_match(text, self.reference) == 1
        return self.pattern is None or re.fullmatch(self.pattern, text.strip()) is not None


def _fits(text: str, schema: Any) -> bool:
    try:
        document = json.loads(text)
        jsonschema.Draft202012Validator(schema).validate(document)
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return False
    return True


Item = Choice | Writing


@dataclass(frozen=True, slots=True)
class Suite:
    """A named set of items that gives one KPI, of which more is better, or less, or neither."""

    name: str
    kpi: str
    about: str
    measure: Measure
    better: Better
    items: tuple[Item, ...]
    source: str = WRITTEN
    licence: str = LICENCE

    @property
    def units(self) -> tuple[str, ...]:
        """The groups in the order of their first items."""
        return tuple(dict.fromkeys(item.group for item in self.items))


def choice(group: str, text: str, choices: tuple[str, ...], *counts: str) -> Choice:
    """An item whose prompt is one user message and whose answers all mean different things."""
    return Choice(group, Chat((("user", text),)), choices, counts, tuple(range(len(choices))))
