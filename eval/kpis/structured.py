"""KPIs of answers that are JSON or calls of tools. NaN where an answer to this prompt has no such KPI.

It owns pure functions over a prompt, an answer and its reference, the right answer.
"""

import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jsonschema

from core.answers import as_canonical, calls_in, json_in
from core.prompts import Prompt, schema_of, tools_of

NO_TOOL = ""
Score = Callable[[Prompt, str, str], float]
Leaf = tuple[int, str, str]


def valid_json(prompt: Prompt, answer: str, _: str) -> float:
    """1 if the answer is a JSON object or array, where the request requires JSON."""
    return math.nan if schema_of(prompt) is None else float(json_in(answer) is not None)


def schema_match(prompt: Prompt, answer: str, _: str) -> float:
    """1 if the answer is JSON that fits the schema of the request. NaN depends on the schema, not on the answer."""
    schema = schema_of(prompt)
    try:
        validator = _validator(as_canonical(schema)) if schema else None
    except Exception:  # A schema that is none, or too deep.
        validator = None
    if validator is None:
        return math.nan
    value = json_in(answer)
    try:
        return float(value is not None and validator.is_valid(value))
    except Exception:  # A deep answer, a huge number, a reference to no schema: each raises an error of its own.
        return 0.0


@lru_cache(maxsize=64)
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    found = json.loads(schema)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def tool_name(prompt: Prompt, answer: str, reference: str) -> float:
    """1 if the answer calls the same tools as the reference in this order, or none where that calls none."""
    if not tools_of(prompt):
        return math.nan
    return float(_names(answer) == _names(reference))


def tool_arguments(prompt: Prompt, answer: str, reference: str) -> float:
    """1 if the answer has the calls of the reference with equal arguments."""
    wanted = calls_in(reference) if tools_of(prompt) else None
    if wanted is None:
        return math.nan
    return float(same_value(calls_in(answer), wanted))


def tool_fields(prompt: Prompt, answer: str, reference: str) -> float:
    """The part of the fields of both calls' arguments that are equal, a call of a tool without any being one field."""
    wanted = calls_in(reference) if tools_of(prompt) else None
    if wanted is None:
        return math.nan
    ours, theirs = set(_leaves(calls_in(answer) or [])), set(_leaves(wanted))
    return len(ours & theirs) / len(ours | theirs)


def is_structured(prompt: Prompt, reference: str) -> bool:
    """Whether answers to this prompt are compared as values and not as words."""
    return schema_of(prompt) is not None or (bool(tools_of(prompt)) and calls_in(reference) is not None)


def equal_values(answer: str, reference: str) -> float:
    """1 if both are the same JSON value. The order of fields, blanks, and 1 or 1.0 make no difference."""
    mine, wanted = json_in(answer), json_in(reference)
    if mine is None or wanted is None:
        return float(answer.strip() == reference.strip())
    return float(same_value(mine, wanted))


def same_value(mine: Any, wanted: Any) -> bool:
    """Whether two JSON values are equal. true is not 1, and 1 is 1.0."""
    return as_canonical(_plain(mine)) == as_canonical(_plain(wanted))


def first_tool(text: str) -> str:
    """The tool that an answer calls first, or `NO_TOOL`."""
    return next(iter(_names(text)), NO_TOOL)


def _names(text: str) -> tuple[str, ...]:
    return tuple(call["name"] for call in calls_in(text) or ())


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case float() if value.is_integer():
            return int(value)
    return value


def _leaves(calls: list[dict[str, Any]]) -> Iterator[Leaf]:
    for place, call in enumerate(calls):
        if not call["arguments"]:
            yield place, call["name"], ""
        for name, value in call["arguments"].items():
            yield place, f"{call['name']}.{name}", as_canonical(_plain(value))


STRUCTURED: dict[str, Score] = {
    "valid_json": valid_json,
    "schema_match": schema_match,
    "tool_name": tool_name,
    "tool_arguments": tool_arguments,
    "tool_fields": tool_fields,
}
