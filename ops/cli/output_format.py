"""How commands print data: a table for people, JSON or YAML for programs. It owns the options `-o` and `--json`."""

import json
import re
from contextvars import ContextVar
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml

from ops.cli.signatures import Command, option, parameters_of, with_parameters


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


# A command that has this parameter gets `-o` too. It is true for every format that programs read.
AsData = Annotated[bool, typer.Option("--json", help="The same as -o json.")]
OutputOption = Annotated[Format | None, typer.Option("--output", "-o", help="How to print data. Default: table.")]
FORMAT: ContextVar[Format] = ContextVar("FORMAT", default=Format.JSON)
# Numbers of YAML 1.2 that are texts in YAML 1.1, such as the hash 12e4567.
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")


class BlockDumper(yaml.CSafeDumper):
    """YAML that parsers of version 1.1 and of version 1.2 read as the same object."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice twice."""
        return True


# A text that a resolver takes for a number is written in quotes.
BlockDumper.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+.0123456789"))


def with_output(command: Command) -> Command:
    """A command with `-o`, if it has a parameter `as_data`."""
    parameters = parameters_of(command)
    if "as_data" not in parameters:
        return command

    def chosen(*args: Any, as_data: bool = False, output: Format | None = None, **kwargs: Any) -> None:
        if as_data and output not in (None, Format.JSON):
            raise typer.BadParameter(f"--json and -o {output} name two formats. Leave one of them out.")
        wanted = output or (Format.JSON if as_data else Format.TABLE)
        token = FORMAT.set(wanted)
        try:
            command(*args, as_data=wanted is not Format.TABLE, **kwargs)
        finally:
            FORMAT.reset(token)

    return with_parameters(command, chosen, [*parameters.values(), option("output", OutputOption)])


def print_data(value: Any) -> None:
    """Print a value on stdout as JSON or YAML."""
    print(as_yaml(value) if FORMAT.get() is Format.YAML else json.dumps(value, indent=1, default=str), flush=True)


def print_row(value: Any) -> None:
    """Print one of many values at once: a line of JSON, or an item of a YAML list."""
    print(as_yaml([value]) if FORMAT.get() is Format.YAML else json.dumps(value, default=str), flush=True)


def as_yaml(value: Any) -> str:
    """A value as YAML in block style, without the last line's end."""
    plain = json.loads(json.dumps(value, default=str))
    return yaml.dump(plain, Dumper=BlockDumper, sort_keys=False, allow_unicode=True, width=10_000).rstrip("\n")
