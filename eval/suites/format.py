"""Format: answers that must be JSON of a given schema, or match a pattern. Written for LoraLoop.

The content of the answer is not judged.
"""

import json
import random

from core.prompts import Chat
from eval.suites.hallucination import COLOURS, DAYS, JOBS, NAMES, TOWNS
from eval.suites.suite import Suite, Writing

EACH = 130
TOKENS = 20
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip


def build() -> Suite:
    """Build the suite."""
    rng = random.Random(8)
    makers = (_person, _place, _date, _number)
    items: dict[str, Writing] = {}
    for maker in makers:
        wanted = len(items) + EACH
        while len(items) < wanted:
            item = maker(rng, f"format-{len(items)}")
            items.setdefault(str(item.prompt), item)
    return Suite(
        name="format", kpi="format_validity", about="answers in the form that was asked for", measure="share",
        better="higher", items=tuple(items.values()),
    )  # fmt: skip


def _object(**properties: str) -> str:
    shape = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()},
             "required": list(properties), "additionalProperties": False}  # fmt: skip
    return json.dumps(shape)


def _asked(group: str, text: str, *, schema: str | None = None, pattern: str | None = None) -> Writing:
    stop = ("}",) if schema else ("\n",)
    return Writing(group, Chat((("user", text),)), TOKENS, stop, schema, pattern)


def _person(rng: random.Random, group: str) -> Writing:
    name, age, job = rng.choice(NAMES), rng.randrange(20, 80), rng.choice(JOBS)
    text = f'{name} is a {job} and {age} years old. Answer only with JSON like {{"name": "Eva", "age": 30}}.'
    return _asked(group, text, schema=_object(name="string", age="integer"))


def _place(rng: random.Random, group: str) -> Writing:
    name, town, colour = rng.choice(NAMES), rng.choice(TOWNS), rng.choice(COLOURS)
    text = f'The {colour} house of {name} is in {town}. Answer only with JSON like {{"town": "Rome"}}.'
    return _asked(group, text, schema=_object(town="string"))


def _date(rng: random.Random, group: str) -> Writing:
    day, month, year = rng.randrange(1, 29), rng.choice(MONTHS), rng.randrange(1900, 2030)
    text = f"Write the date {day} {month} {year} as YYYY-MM-DD, and nothing else."
    return _asked(group, text, pattern=r"\d{4}-\d{2}-\d{2}")


def _number(rng: random.Random, group: str) -> Writing:
    name, count, day = rng.choice(NAMES), rng.randrange(2, 100), rng.choice(DAYS)
    text = f"{name} bought {count} apples on {day}. How many apples? Answer with the number in digits alone."
    return _asked(group, text, pattern=r"\d+")
