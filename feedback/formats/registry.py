"""Every format by its name, and which one a file has."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any

from core.errors import InputError
from feedback.formats import langfuse, open_webui, openai_chat, own, preferences, tensorzero
from feedback.formats.source import Part, Target


class Format(StrEnum):
    """Where a file comes from."""

    LORALOOP = "loraloop"
    OPENAI = "openai"
    PREFERENCES = "preferences"
    LANGFUSE = "langfuse"
    TENSORZERO = "tensorzero"
    OPEN_WEBUI = "open-webui"


# In the order in which they are tried: a row with the fields of several is the first one's.
MODULES: dict[Format, ModuleType] = {
    Format.OPEN_WEBUI: open_webui,
    Format.OPENAI: openai_chat,
    Format.PREFERENCES: preferences,
    Format.TENSORZERO: tensorzero,
    Format.LANGFUSE: langfuse,
    Format.LORALOOP: own,
}


@dataclass(frozen=True, slots=True)
class Guess:
    """The format of a file and the row that it was found by."""

    format: Format
    number: int


def guess(rows: Iterable[tuple[int, Any]]) -> Guess:
    """The format of the first row that has the fields of one. Raises InputError if there is none."""
    seen: list[str] = []
    for number, row in rows:
        if not isinstance(row, dict):
            continue
        for found, module in MODULES.items():
            if module.matches(row):
                return Guess(found, number)
        seen = seen or [f"Line {number} has the fields {', '.join(list(row)[:8])}"]
    raise InputError(
        f"No row has the fields of a known format. {'. '.join(seen)}".strip() + ".",
        hint=f"Name it with --format: {', '.join(Format)}.",
    )


def parts_of(found: Format) -> Callable[[Any, Target], list[Part]]:
    """What turns a row of a format into records. Raises InputError that names the field."""
    module = MODULES[found]

    def parts(row: Any, target: Target) -> list[Part]:
        if isinstance(row, InputError):
            raise row
        if not isinstance(row, dict):
            raise InputError("A row is one JSON object.")
        if not module.matches(row):
            raise InputError(f"It does not have the fields of {found}.", hint="Name another with --format.")
        return module.parts(row, target)

    return parts
