"""OpenAI's `metadata`: up to 16 pairs of text that an app attaches to a stored completion."""

from typing import Any

from core.errors import InputError

MOST_PAIRS = 16
LONGEST_NAME = 64
LONGEST_VALUE = 512


def checked_metadata(value: Any) -> dict[str, str]:
    """The pairs, none for null. Raises InputError that names the pair."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError("metadata: takes an object of strings.")
    if len(value) > MOST_PAIRS:
        raise InputError(f"metadata: takes {MOST_PAIRS} pairs, not {len(value)}.")
    for name, text in value.items():
        if len(name) > LONGEST_NAME:
            raise InputError(f"metadata: the name {name[:LONGEST_NAME]!r}… is longer than {LONGEST_NAME} characters.")
        if not isinstance(text, str):
            raise InputError(f"metadata.{name}: takes a string.")
        if len(text) > LONGEST_VALUE:
            raise InputError(f"metadata.{name}: is longer than {LONGEST_VALUE} characters.")
    return value
