"""Whether a line of the command line that somebody is shown would be understood, without doing what it says."""

import shlex
from itertools import takewhile
from typing import Any

import typer
from typer._click.exceptions import MissingParameter, NoArgsIsHelpError

from ops.cli.app import app

# What comes after one of these is for the shell.
SHELL = ("|", "<", ">")


def assert_understood(line: str, *, whole: bool = True) -> None:
    """Parses a line with all its options and arguments, which a line that is not whole may lack."""
    program, *words = takewhile(lambda word: word not in SHELL, shlex.split(line, comments=True))
    assert program == "loraloop", line
    assert "--install-completion" not in words, "to parse it is to change this machine's shell"
    command: Any = typer.main.get_command(app)
    context: Any = None
    while True:
        try:
            context = command.make_context(command.name or "loraloop", list(words), parent=context)
        except (MissingParameter, NoArgsIsHelpError):
            assert not whole, f"{line} lacks something"
            return
        rest = [*context._protected_args, *context.args]
        if not getattr(command, "commands", None) or not rest:
            return
        _, command, words = command.resolve_command(context, rest)
