"""Replace personal data in the prompts and answers of a snapshot's rows.

One regular expression of RE2 per rule finds the texts that may have a match, a column at a time. Only these are read in
Python, so the cost is that of eight scans of all texts (`bench/pii.py`), and of the rules on a few texts.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.answers import json_in
from core.prompt_fields import Message
from core.prompts import Prompt, Text, from_json, to_json
from core.settings import ModelSettings
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


def scrub_rows(rows: pa.Table, settings: ModelSettings) -> tuple[pa.Table, dict[str, int]]:
    """A snapshot's rows without personal data, and the number of replacements by rule.

    Answers are texts of users with `task: generate`; labels of a classification are those of the settings.
    """
    answers = ("label",) if settings.task == "generate" else ()
    return scrub_table(rows, settings.privacy.rules, answers)


def scrub_table(rows: pa.Table, rules: Sequence[ScrubRule], answers: Sequence[str]) -> tuple[pa.Table, dict[str, int]]:
    """A table without personal data in the column `prompt` and in those of answers, and the replacements by rule."""
    if not rules:
        return rows, {}
    total: Counter[str] = Counter()
    scrubs: dict[str, Scrub] = {"prompt": _scrub_json} | dict.fromkeys(answers, scrub_answer)
    for name, scrub in scrubs.items():
        chunks = [_scrub_column(chunk, scrub, rules, total) for chunk in rows[name].chunks]
        column = pa.chunked_array(chunks, rows.schema.field(name).type)
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows, dict(sorted(total.items()))


def _scrub_json(text: str, rules: Sequence[ScrubRule]) -> tuple[str, Counter[str]]:
    prompt, counts = scrub_prompt(from_json(text), rules)
    return to_json(prompt) if counts else text, counts


def _scrub_column(column: pa.Array, scrub: Scrub, rules: Sequence[ScrubRule], total: Counter[str]) -> pa.Array:
    """The column with the texts scrubbed that hints match; adds the replacements to `total`."""
    for rule in rules:
        hint = pc.MatchSubstringOptions(RULES[rule].hint, ignore_case=True)
        may_have = pc.fill_null(pc.call_function("match_substring_regex", [column], hint), False)
        changed = []
        for text in column.filter(may_have).to_pylist():
            scrubbed, counts = scrub(text, [rule])
            changed.append(scrubbed)
            total.update(counts)
        if changed:
            column = pc.call_function("replace_with_mask", [column, may_have, pa.array(changed, column.type)])
    return column
