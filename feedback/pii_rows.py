"""Replace personal data in the prompts and answers of a snapshot's rows.

One regular expression of RE2 per rule finds the texts that may have a match, a column at a time. Only these are read in
Python, so the cost is that of eight scans of all texts (`bench/pii.py`), and of the rules on a few texts.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.answers import json_in
from core.prompt_fields import Message
from core.prompts import Prompt, Text, from_json, to_json
from core.settings.privacy import ScrubRule
from feedback.pii import RULES, scrub_text

Scrub = Callable[[str, Sequence[ScrubRule]], tuple[str, Counter[str]]]


def scrub_prompt(prompt: Prompt, rules: Sequence[ScrubRule]) -> tuple[Prompt, Counter[str]]:
    """The prompt with every text scrubbed, and the number of replacements by rule."""
    if isinstance(prompt, Text):
        text, counts = scrub_text(prompt.text, rules)
        return replace(prompt, text=text), counts
    total: Counter[str] = Counter()
    messages: list[Message] = []
    for role, content, *more in prompt.messages:
        text, counts = scrub_text(content, rules)
        fields = [scrub_answer(each, rules) for each in more]
        messages.append((role, text, fields[0][0]) if fields else (role, text))
        total += sum((found for _, found in fields), counts)
    return replace(prompt, messages=tuple(messages)), total


def scrub_answer(text: str, rules: Sequence[ScrubRule]) -> tuple[str, Counter[str]]:
    """An answer scrubbed. JSON stays JSON: each of its texts and numbers is scrubbed alone."""
    value = json_in(text)
    if value is None:
        return scrub_text(text, rules)
    total: Counter[str] = Counter()

    def scrubbed(each: Any) -> Any:
        match each:
            case dict():
                return {name: scrubbed(one) for name, one in each.items()}
            case list():
                return [scrubbed(one) for one in each]
            case str():
                found, counts = scrub_answer(each, rules)  # the arguments of a call are JSON in a text
            case bool() | None:
                return each
            case _:
                found, counts = scrub_text(str(each), rules)
        total.update(counts)
        return found if counts else each

    changed = scrubbed(value)
    return (json.dumps(changed, ensure_ascii=False, separators=(",", ":")), total) if total else (text, total)


def scrub_prompts(prompts: pa.Array, rules: Sequence[ScrubRule]) -> tuple[pa.Array, pa.Array]:
    """Prompts as JSON without personal data, and the replacements by rule as JSON, (n,) each.

    Both are null where nothing is replaced.
    """
    column, counts = _scrub_column(prompts, _scrub_json, rules)
    replaced = [json.dumps(counts[place]) if place in counts else None for place in range(len(prompts))]
    changed = pa.array(replaced, pa.string())
    return pc.if_else(changed.is_valid(), column, None), changed  # type: ignore[attr-defined]


def replaced_in(column: pa.ChunkedArray) -> Counter[str]:
    """The replacements by rule of several prompts, from those of each."""
    total: Counter[str] = Counter()
    for text in column.drop_null().to_pylist():
        total.update(json.loads(text))
    return total


def scrub_table(table: pa.Table, rules: Sequence[ScrubRule], columns: Sequence[str]) -> tuple[pa.Table, Counter[str]]:
    """A table without personal data in these columns, and the replacements by rule. `prompt` is a prompt as JSON."""
    total: Counter[str] = Counter()
    for name in columns:
        scrub = _scrub_json if name == "prompt" else scrub_answer
        chunks = []
        for chunk in table[name].chunks:
            column, counts = _scrub_column(chunk, scrub, rules)
            chunks.append(column)
            total += sum(counts.values(), Counter())
        column = pa.chunked_array(chunks, table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table, total


def _scrub_json(text: str, rules: Sequence[ScrubRule]) -> tuple[str, Counter[str]]:
    prompt, counts = scrub_prompt(from_json(text), rules)
    return to_json(prompt) if counts else text, counts


def _scrub_column(
    column: pa.Array, scrub: Scrub, rules: Sequence[ScrubRule]
) -> tuple[pa.Array, defaultdict[int, Counter[str]]]:
    """The column with the texts scrubbed that hints match, and the replacements of each place that has some."""
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for rule in rules:
        hint = pc.MatchSubstringOptions(RULES[rule].hint, ignore_case=True)
        may_have = pc.fill_null(pc.call_function("match_substring_regex", [column], hint), False)
        places = np.flatnonzero(may_have.to_numpy(zero_copy_only=False))
        changed = []
        for place, text in zip(places.tolist(), column.take(pa.array(places)).to_pylist(), strict=True):
            scrubbed, found = scrub(text, [rule])
            changed.append(scrubbed)
            if found:
                counts[place] += found
        if changed:
            column = pc.call_function("replace_with_mask", [column, may_have, pa.array(changed, column.type)])
    return column, counts
