"""The form of texts that apps choose: names of users and conversations, and labels.

One text can be written in several ways in Unicode. It has one form here (NFC), so that a composed and a decomposed
accent are the same user and the same label wherever they come in.
"""

import unicodedata
from collections.abc import Iterator
from typing import Any

from core.errors import InputError

# Longest name of a user or a conversation, in characters.
LONGEST_NAME = 512
# Users whose labels overrule those of others. Only the console and keys with `ops:write` may give them.
REVIEWER = "reviewer:"
# Reviewers who decide where others disagree. Their labels overrule those of other reviewers.
ADJUDICATOR = f"{REVIEWER}adjudicator:"


def in_one_form(text: str) -> str:
    """The text in Unicode's NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def label_key(label: str) -> str:
    """What two ways of writing one label have in common: upper and lower case, composed and decomposed accents."""
    return in_one_form(label).strip().lower()


def checked_name(field: str, name: str) -> str:
    """A name in one form. Raises InputError that names the field."""
    trouble = wrong_character(name)
    if trouble:
        raise InputError(f"{field}: {trouble}.", hint="Leave that character out.", field=field)
    found = in_one_form(name)
    if len(found) > LONGEST_NAME:
        raise InputError(
            f"{field}: is {len(found):,} characters long, the limit is {LONGEST_NAME}.",
            hint="Send a shorter name, such as a hash of it.",
            field=field,
        )
    return found


def wrong_character(text: str) -> str | None:
    """Why a text cannot be stored: a NUL character, or half of a surrogate pair; None if it can."""
    if "\0" in text:
        return f"has a NUL character at position {text.index(chr(0)) + 1}"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"has half of a surrogate pair (U+{ord(text[error.start]):04X}) at position {error.start + 1}"
    return None


def wrong_characters(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, reason) of each text within a JSON value that cannot be stored; a name in an object is a text too."""
    pending: list[tuple[str, Any]] = [(path, value)]
    while pending:
        where, found = pending.pop()
        if isinstance(found, str):
            if trouble := wrong_character(found):
                yield where, trouble
        elif isinstance(found, dict):
            for name, inner in found.items():
                below = f"{where}.{name}" if where else str(name)
                if trouble := wrong_character(str(name)):
                    yield where or "a field's name", trouble
                else:
                    pending.append((below, inner))
        elif isinstance(found, list):
            pending += [(f"{where}.{index}" if where else str(index), inner) for index, inner in enumerate(found)]
