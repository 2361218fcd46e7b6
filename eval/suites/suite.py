"""A suite: items, the measure that makes a KPI from their answers, and their source and licence."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

import jsonschema

from core.prompts import Chat, Prompt
from eval.kpis.direction import Better
from eval.kpis.text import exact_match

Measure = Literal["share", "every", "agreement", "length"]
"""How answers become the values of units, whose mean is the KPI. A unit is a group of one or more items.

share: the share of a group's answers that count. every: 1 if all answers of a group count, otherwise 0. agreement: the
share of a group's pairs that have the same answer. length: an answer's length in tokens.
"""
WRITTEN = "written for LoraLoop"
LICENCE = "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Choice:
    """A prompt with a fixed set of answers, and those that count. The most likely answer is the item's answer.

    `kinds` numbers the answers by meaning, because several may have the same meaning.
    """

    group: str
    prompt: Prompt
    choices: tuple[str, ...]
    counts: tuple[str, ...]
    kinds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Writing:
    """A prompt that is answered in words, and the form of an answer that counts.

    The form is a JSON document that fits `schema` (JSON text), or a text that `pattern` matches as a whole, or the text
    of `reference`. The comparison with a reference ignores case, spaces and punctuation.
    """

    group: str
    prompt: Prompt
    max_tokens: int
    stop: tuple[str, ...] = ()
    schema: str | None = None
    pattern: str | None = None
    reference: str | None = None

    def counts(self, text: str) -> bool:
        """Whether the answer has the form."""
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
    """A named set of items that gives one KPI. `better` says which direction of it is better."""

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
    """An item whose prompt is one user message and whose answers have different meanings."""
    return Choice(group, Chat((("user", text),)), choices, counts, tuple(range(len(choices))))
