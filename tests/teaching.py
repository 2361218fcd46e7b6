"""Whether a line of the command line that somebody is shown would be understood, without doing what it says."""

import shlex
from typing import Any

import typer

from ops.cli.app import app


def assert_understood(line: str) -> None:
    """Parses a line with all its options and arguments; fails with the parser's own words."""
    program, *words = shlex.split(line, comments=True)
    assert program == "loraloop", line
    command: Any = typer.main.get_command(app)
    context: Any = None
    while True:
        context = command.make_context(command.name or "loraloop", list(words), parent=context)
        rest = [*context._protected_args, *context.args]
        if not getattr(command, "commands", None) or not rest:
            return
        _, command, words = command.resolve_command(context, rest)
