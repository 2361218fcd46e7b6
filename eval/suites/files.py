"""Read suites that users write: a folder with a header and JSON lines, or a golden file of JSON lines.

Errors name the file and the line. docs/suites.md describes the format.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import jsonschema
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from core.errors import InputError
from core.prompts import Chat, Prompt
from core.settings.kpi_names import FORGETTING
from eval.kpis.direction import Better, better
from eval.suites.shipped import BUILDERS, shipped_suite
from eval.suites.suite import Choice, Item, Measure, Suite, Writing

HEADER = "suite.json"
WORDS: dict[Better, str] = {"higher": "better when higher", "lower": "better when lower", "same": "best when the same"}
EXTERNAL_REFERENCE = re.compile(r'"\$(dynamicRef|ref)": "[^#]')
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Shape = TypeVar("Shape", bound=BaseModel)
Words = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


class Header(BaseModel):
    """`suite.json`: what the suite measures. Items without `choices` or `max_tokens` use the values of the header."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    kpi: Name
    about: Words
    measure: Measure = "share"
    better: Better
    source: Words
    licence: Words
    choices: list[Words] = Field(default=[], max_length=64)
    max_tokens: int = Field(default=32, ge=1, le=4096)
    stop: list[Words] = []


class Message(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: Words


class PromptLine(BaseModel):
    """The prompt of a line: messages, or a text, which becomes one user message."""

    model_config = ConfigDict(extra="forbid")
    prompt: Words | None = None
    messages: list[Message] = []

    @model_validator(mode="after")
    def _one_prompt(self) -> "PromptLine":
        if (self.prompt is None) == (not self.messages):
            raise ValueError("give either prompt or messages")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("messages: the last one must be the user's")
        return self

    def as_prompt(self) -> Prompt:
        """The prompt as a value."""
        if self.prompt is not None:
            return Chat((("user", self.prompt),))
        return Chat(tuple((message.role, message.content) for message in self.messages))


class SuiteLine(PromptLine):
    """A line of a suite: `choices` (or the header's) and those that count, or the form of an answer in words."""

    group: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    choices: list[Words] = Field(default=[], max_length=64)
    counts: list[Words] = []
    json_schema: dict[str, Any] | None = None
    pattern: str | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=4096)


class GoldenLine(PromptLine):
    """A line of a golden file: the true `label` of a classifier, or the `reference` of an answer in words."""

    label: Words | None = None
    reference: Words | None = None


def find_suites(names: Sequence[str]) -> list[Suite]:
    """Find shipped suites by name, others by folder. Raises InputError, also if two measure the same KPI."""
    suites = [
        shipped_suite(name) if name in BUILDERS or not Path(name).is_dir() else read_suite(Path(name)) for name in names
    ]
    by_kpi: dict[str, Suite] = {}
    for suite in suites:
        other = by_kpi.setdefault(suite.kpi, suite)
        if other is not suite:
            raise InputError(f"The suites {other.name} and {suite.name} both measure {suite.kpi}.", hint="Remove one.")
    return suites


def read_suite(folder: Path) -> Suite:
    """Read a user's suite. Raises InputError with the file, the line and the reason."""
    header = _checked(Header, _text(folder / HEADER), str(folder / HEADER))
    if header.kpi == FORGETTING:
        hint = "Name the KPI of your suite differently."
        raise InputError(f"{folder / HEADER}: kpi: {FORGETTING} is what a training measures of its adapter.", hint=hint)
    known = better(header.kpi)
    if known not in (None, header.better):
        raise InputError(f"{folder / HEADER}: better: {header.kpi} is {WORDS[known]}, not {WORDS[header.better]}.",
                         hint="Correct it, or name the KPI of your suite differently.")  # fmt: skip
    files = sorted(folder.glob("*.jsonl"))
    items = [_item(line, header, where) for file in files for where, line in _lines(file, SuiteLine)]
    if not items:
        raise InputError(f"{folder} has no items.", hint="Write them into a .jsonl file next to suite.json.")
    if header.measure in ("agreement", "every"):
        alone = _alone([item.group for item in items])
        if alone:
            raise InputError(f"{folder}: the group {alone!r} has only one item.",
                             hint=f"{header.measure} compares the answers of a group.")  # fmt: skip
    return Suite(header.name, header.kpi, header.about, header.measure, header.better, tuple(items),
                 header.source, header.licence)  # fmt: skip


def read_golden_file(file: Path, labels: Sequence[str], max_tokens: int) -> Suite:
    """Read a golden file as a suite. Raises InputError with the line and the reason."""
    items: list[Item] = []
    for where, line in _lines(file, GoldenLine):
        group, prompt = f"golden-{len(items)}", line.as_prompt()
        if labels and line.label not in labels:
            raise InputError(f"{where}: label {line.label!r} is not one of {', '.join(labels)}.",
                             hint="Write it as in the settings.")  # fmt: skip
        if not labels and line.reference is None:
            raise InputError(f"{where}: reference is missing.", hint="Give the text of a right answer.")
        if labels:
            items.append(Choice(group, prompt, tuple(labels), (str(line.label),), tuple(range(len(labels)))))
        else:
            items.append(Writing(group, prompt, max_tokens, reference=line.reference))
    if not items:
        raise InputError(f"{file} has no lines.", hint='Write one object per line: {"prompt": "…", "label": "…"}')
    return Suite("golden", "golden_accuracy", "answers of the golden file that are right", "share", "higher",
                 tuple(items), source=file.name, licence="yours")  # fmt: skip


def _item(line: SuiteLine, header: Header, where: str) -> Item:
    choices = tuple(line.choices or header.choices)
    forms = [name for name in ("json_schema", "pattern") if getattr(line, name) is not None]
    group = line.group or where
    if choices and not forms:
        unknown = [text for text in line.counts if text not in choices]
        if unknown:
            raise InputError(f"{where}: counts: {unknown[0]!r} is not one of the choices.", hint="See docs/suites.md.")
        if len(set(choices)) < max(2, len(choices)):
            raise InputError(f"{where}: choices: give two or more, each once.", hint="See docs/suites.md.")
        return Choice(group, line.as_prompt(), choices, tuple(line.counts), tuple(range(len(choices))))
    if line.counts or len(forms) > 1 or (not forms and header.measure != "length"):
        raise InputError(f"{where}: give choices, or json_schema, or pattern.", hint="See docs/suites.md.")
    schema = None if line.json_schema is None else _schema(line.json_schema, where)
    if line.pattern is not None:
        try:
            re.compile(line.pattern)
        except re.error as error:
            raise InputError(f"{where}: pattern: {error}.", hint="Write a Python regular expression.") from error
    tokens = line.max_tokens or header.max_tokens
    return Writing(group, line.as_prompt(), tokens, tuple(header.stop), schema, line.pattern)


def _schema(schema: dict[str, Any], where: str) -> str:
    if EXTERNAL_REFERENCE.search(json.dumps(schema)):
        raise InputError(f"{where}: json_schema: it refers to another document.", hint="Copy that document into $defs.")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise InputError(f"{where}: json_schema: {error.message}.", hint="Write JSON Schema 2020-12.") from error
    return json.dumps(schema)


def _alone(groups: Sequence[str]) -> str | None:
    return next((group for group in groups if groups.count(group) == 1), None)


def _lines(file: Path, shape: type[Shape]) -> Iterator[tuple[str, Shape]]:
    for number, line in enumerate(_text(file).splitlines(), 1):
        if line.strip():
            where = f"{file.name} line {number}"
            yield where, _checked(shape, line, where)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}.", hint="It must be a file of UTF-8 text.") from error


def _checked(shape: type[Shape], text: str, where: str) -> Shape:
    try:
        return shape.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(f"{where}: {f'{field}: ' if field else ''}{message}.", hint="See docs/suites.md.") from error
