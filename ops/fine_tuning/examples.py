"""Read the examples of an uploaded file: OpenAI's JSON lines for supervised fine-tuning and for preferences.

The content is untrusted: a line has a limit, and every error names its line and field.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import orjson

from core.errors import InputError
from core.records import Feedback, Interaction, Revocation
from feedback.formats import openai_chat
from feedback.formats.source import LeftOut, Target

Method = Literal["supervised", "dpo"]
Records = list[Interaction | Feedback | Revocation]
LONGEST_LINE = 4 * 1024 * 1024
# Fewest examples of a job, as at OpenAI.
FEWEST = 10
# Errors that a refusal names.
MOST_ERRORS = 5
FORMS: dict[Method, str] = {"supervised": "messages", "dpo": "input, preferred_output and non_preferred_output"}


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line) of each line that is not empty, from 1. Raises InputError for a line that is too long."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise InputError(f"line {number}: is longer than {LONGEST_LINE} bytes.", field="file")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield number, line


def parse_line(line: bytes) -> dict[str, Any]:
    """One example. Raises InputError."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error}.") from error
    if not isinstance(row, dict):
        raise InputError("is no JSON object.")
    return row


def form_of(row: dict[str, Any]) -> Method:
    """The method that an example is for. Raises InputError."""
    if not openai_chat.matches(row):
        raise InputError("has neither messages nor preferred_output.", hint=f"Fields of an example: {FORMS}.")
    return "supervised" if "messages" in row else "dpo"


def records_of(row: dict[str, Any], target: Target, method: Method | None = None) -> Records:
    """The interactions and the feedback that an example becomes. Raises InputError that names the field."""
    form = form_of(row)
    if method is not None and form != method:
        raise InputError(f"is an example for the method {form}; method {method} needs {FORMS[method]}.")
    return [part for part in openai_chat.parts(row, target) if not isinstance(part, LeftOut)]


def read_examples(path: Path, target: Target, method: Method | None = None) -> Iterator[Records]:
    """The records of each example of a file. Raises InputError that names the first wrong line and its field."""
    for number, line in read_lines(path):
        try:
            yield records_of(parse_line(line), target, method)
        except InputError as error:
            raise InputError(f"line {number}: {error}", field=error.field or "file") from error


def check_file(path: Path, target: Target, method: Method | None = None) -> int:
    """The number of examples of a file. Raises InputError that names up to 5 wrong lines, each with its field."""
    count, wrong = 0, 0
    said: list[str] = []
    for number, line in read_lines(path):
        try:
            records_of(parse_line(line), target, method)
            count += 1
        except InputError as error:
            wrong += 1
            if len(said) < MOST_ERRORS:
                said.append(f"line {number}: {error}")
    if wrong:
        lines = "1 line is" if wrong == 1 else f"{wrong} lines are"
        raise InputError(f"{lines} wrong. {' '.join(said)}", field="file")
    if not count:
        raise InputError("The file has no example.", hint="Write one JSON object per line.", field="file")
    return count
