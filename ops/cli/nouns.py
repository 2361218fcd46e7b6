"""Groups of commands: a noun and its verbs. It also owns what the older names of commands became."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ops.cli.completion import with_completion
from ops.cli.control_choice import with_control
from ops.cli.exit_codes import BROKEN_PIPE
from ops.cli.output_format import with_output
from ops.cli.terminal import tell

HELP = ("-h", "--help")
# The first words of a command, as they were before commands had the form of noun and verb.
OLD_NAMES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("approve",): ("promotions", "approve"),
    ("erase",): ("data", "erase"),
    ("evaluate",): ("versions", "evaluate"),
    ("export",): ("data", "export"),
    ("import",): ("data", "import"),
    ("import-adapter",): ("versions", "import"),
    ("ledger", "verify"): ("promotions", "verify"),
    ("notify",): ("notifications",),
    ("promote",): ("models", "promote"),
    ("reject",): ("promotions", "reject"),
    ("restore",): ("backup", "restore"),
    ("retrain",): ("runs", "start"),
    ("rollback",): ("models", "rollback"),
    ("run",): ("runs",),
    ("snapshot",): ("snapshots",),
}


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun, the functions of its verbs, and the verb that is meant where none is given, if there is one."""

    name: str
    help: str
    verbs: Mapping[str, Callable[..., None]]
    default: str | None = None

    def group(self) -> typer.Typer:
        """Return the group of its commands."""
        made = type("Group", (NounGroup,), {"default_verb": self.default})
        app = typer.Typer(cls=made, help=self.help, no_args_is_help=self.default is None)
        for verb, function in self.verbs.items():
            add(app, f"{self.name} {verb}", function)
        return app


def add(app: typer.Typer, words: str, function: Callable[..., None], panel: str | None = None) -> None:
    """Add a command to an app under its last word, with the options that many commands have."""
    command = with_completion(with_output(with_control(function)), words)
    app.command(words.rpartition(" ")[2], cls=Verb, rich_help_panel=panel)(command)


class PlainFlags:
    """The help of a command. A flag has no type there: `--yes <bool>` would invite to give it a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of the command."""
        params = super().get_params(ctx)  # type: ignore[misc]
        for one in params:
            if getattr(one, "is_flag", False):
                one.display_type_rich = lambda ctx: None
        return params


class Verb(PlainFlags, TyperCommand):
    """One command."""


class NounGroup(PlainFlags, TyperGroup):
    """The commands of a noun. Words that begin with no verb are those of the default verb."""

    default_verb: str | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default verb before the words where it is meant."""
        # The completion of a word after the noun offers the verbs.
        completing = ctx.resilient_parsing and not args
        return super().parse_args(ctx, args if completing else with_verb(args, list(self.commands), self.default_verb))


def with_verb(words: Sequence[str], verbs: Sequence[str], default: str | None) -> list[str]:
    """Return words that begin with a verb. A word that looks like a misspelt verb is left as it is."""
    first = words[0] if words else "-"
    if default is None or first in HELP or first in verbs or get_close_matches(first, verbs):
        return list(words)
    return [default, *words]


class Root(PlainFlags, TyperGroup):
    """All commands. An older name still works, and says what it became."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace an older name."""
        words = new_words(args)
        if words != args and not ctx.resilient_parsing:
            tell(f"An older name: this is now loraloop {' '.join(words[:2])}")
        return super().parse_args(ctx, words)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the words, which prints the help if the words ask for it."""
        with ended_reader():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            with ended_reader():
                return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # words of Pydantic
            raise


@contextmanager
def ended_reader() -> Iterator[None]:
    """End without a word, and with the code of a broken pipe, if the reader of stdout has ended, as `head` does."""
    try:
        yield
        sys.stdout.flush()
    except typer.Exit:
        with ended_reader():
            sys.stdout.flush()
        raise
    except (BrokenPipeError, SystemExit) as error:
        # Rich, which prints the help, makes a SystemExit of it.
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # What is left in the buffer is lost; without this Python would try to write it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(BROKEN_PIPE) from None


def new_words(words: Sequence[str]) -> list[str]:
    """Return words with the name that a command has now instead of an older one."""
    match words:
        case ["versions", model, version, *rest] if version.isdecimal() and model != "show":
            return ["versions", "show", model, version, *rest]
    for old, new in OLD_NAMES.items():
        if tuple(words[: len(old)]) == old:
            return [*new, *words[len(old) :]]
    return list(words)
