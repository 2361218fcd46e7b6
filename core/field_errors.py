"""Turn what Pydantic finds wrong with a request into an error of ours, which names the field, the value and the fix.

A text is only quoted where it is a choice, a time or a number: other texts can be those of users, and messages are
logged.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from core.errors import InputError
from core.quoting import quote_untrusted

# Where FastAPI says that a parameter is from.
PLACES = ("query", "path", "header", "cookie", "body")
TIME = "a day or a time, such as 2026-03-01 or 2026-03-01T12:00:00Z"
WHOLE, NUMBER = "a whole number", "a number"
# What a field takes, by the type of Pydantic's error.
TAKES: Mapping[str, str] = {
    "int_parsing": WHOLE,
    "int_parsing_size": "a smaller number",
    "int_type": WHOLE,
    "int_from_float": WHOLE,
    "float_parsing": NUMBER,
    "float_type": NUMBER,
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "datetime_parsing": TIME,
    "datetime_from_date_parsing": TIME,
    "datetime_type": TIME,
    "datetime_object_invalid": TIME,
    "timezone_aware": TIME,
}
# The same, where the value is not quoted.
TAKES_UNQUOTED: Mapping[str, str] = {
    "string_type": "text",
    "string_unicode": "text without halves of surrogate pairs",
    "string_pattern_mismatch": "text of another form",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
}
BOUNDS = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}
CHOICE = re.compile(r"'([^']*)'")


def field_error(errors: Sequence[Mapping[str, Any]], known: Sequence[str] = ()) -> InputError:
    """The first of these errors as one of ours, with the names of other fields that are wrong.

    `known` are the fields that the request may have.
    """
    first = errors[0]
    field = _field(first)
    message, hint = _said(first, known)
    others = list(dict.fromkeys(name for name in map(_field, errors[1:]) if name != field))
    also = f" Also wrong: {', '.join(others[:5])}." if others else ""
    return InputError(f"{field or 'The body'}: {message}", hint=f"{hint}{also}".strip(), field=field or None)


def _field(error: Mapping[str, Any]) -> str:
    loc = list(error["loc"])
    if loc and loc[0] in PLACES:
        loc = loc[1:]
    # A name that the sender made up can hold anything.
    name = ".".join(str(part) for part in loc)
    return name if name.isprintable() and len(name) <= 200 else quote_untrusted(name)


def _said(error: Mapping[str, Any], known: Sequence[str]) -> tuple[str, str]:
    """What is wrong, and the fix."""
    value, limits, fix = error.get("input"), error.get("ctx") or {}, ""
    match str(error["type"]):
        case "missing":
            wrong, fix = "is missing.", "Add it."
        case "extra_forbidden":
            wrong, fix = "there is no such field.", _nearest(error["loc"][-1], known)
        case "enum" | "literal_error":
            choices = CHOICE.findall(str(limits.get("expected", "")))
            wrong, fix = f"{_shown(value)} is not possible.", _nearest(value, choices)
        case kind if kind in TAKES:
            wrong = f"{_shown(value)} is not {TAKES[kind]}."
        case kind if kind in TAKES_UNQUOTED:
            wrong = f"takes {TAKES_UNQUOTED[kind]}, and this is {_kind(value)}."
        case kind if kind in BOUNDS:
            bound = f"{BOUNDS[kind]} {next(iter(limits.values()))}"
            wrong, fix = f"{_shown(value)} is not {bound}.", f"Give a number {bound}."
        case kind if kind.endswith(("too_short", "too_long")):
            wrong = _length(kind, value, limits)
        case "value_error":
            wrong = f"{str(error['msg']).removeprefix('Value error, ').rstrip('.')}."
        case kind:
            wrong = f"is not valid ({kind.replace('_', ' ')})."
    return wrong, fix


def _length(kind: str, value: Any, limits: Mapping[str, Any]) -> str:
    what = "characters" if kind.startswith("string") else "entries"
    bound = f"at least {limits['min_length']}" if "min_length" in limits else f"at most {limits['max_length']}"
    has = f", and this has {len(value)}" if hasattr(value, "__len__") else ""
    return f"takes {bound} {what}{has}."


def _nearest(value: Any, known: Sequence[str]) -> str:
    near = get_close_matches(str(value), known, n=1, cutoff=0.5)
    meant = f"Did you mean {near[0]}? " if near else ""
    return f"{meant}Take one of: {', '.join(known)}." if known else "Leave it out."


def _shown(value: Any) -> str:
    return quote_untrusted(value) if isinstance(value, str | int | float) else _kind(value)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
