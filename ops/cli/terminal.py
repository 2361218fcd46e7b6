"""Output of the commands: data on stdout, everything else on stderr; progress bars and questions."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from core.errors import NoTerminal
from core.settings import Settings, load
from ops.cli.output_format import print_data


class DataConsole(Console):
    """The console of stdout, whose reader may end first."""

    def on_broken_pipe(self) -> None:
        """Leave the end of the command to the command line, which has an exit code for it."""
        raise BrokenPipeError


# A pipe has no width of its own, and a table cut to 80 columns would hide numbers.
out = DataConsole(soft_wrap=True, width=None if sys.stdout.isatty() else 180)
err = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", envvar="LORALOOP_CONFIG")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
DEFAULT_CONFIG = Path("loraloop.yaml")
# An evaluation tells of itself now and then only; its rate is that of the last minutes.
RATE_SECONDS = 300


def tell(message: str) -> None:
    """A line for the person at the terminal, not for a program reading the data."""
    err.print(message, markup=False)


@contextmanager
def bytes_bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a terminal, nothing elsewhere; call it with each piece's bytes."""
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def count_bar(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar with count, rate and time left on a terminal, nothing elsewhere; call it with what is done, and how far.

    Each task has its own rate and time. A note is shown behind them.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(
        *columns, console=err, transient=True, disable=not err.is_terminal, speed_estimate_period=RATE_SECONDS
    ) as progress:
        task = progress.add_task(what, total=total, note="")

        def tell_of(doing: str, done: int, of: int | None, note: str = "") -> None:
            if progress.tasks[0].description != doing:
                progress.reset(task, description=doing)
            progress.update(task, completed=done, total=of, note=note)

        yield tell_of


class RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """Nothing while there is none."""
        return Text(f"{task.speed:.3g}/s" if task.speed else "")


def settings_from(config: Path) -> Settings:
    """The settings of a command."""
    return load(config)


def agreed(what: str, yes: bool, dry_run: bool) -> bool:
    """Whether to go on with a change: asks on a terminal, and elsewhere needs --yes. Raises NoTerminal."""
    tell(what)
    if dry_run:
        tell("Nothing was done (--dry-run).")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise NoTerminal("There is no terminal to ask on.", hint="Add --yes to do it, or --dry-run to see.")
    return typer.confirm("Go on?", err=True)


def show(rows: Any, as_data: bool, columns: dict[str, str], empty: str) -> None:
    """Rows as data or as a table of the named columns (field: heading)."""
    if as_data:
        print_data(rows)
        return
    if not rows:
        tell(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(name)) for name in columns))
    out.print(table, markup=False)


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, str) and len(value) > 18 and value[4] == "-" and "T" in value:
        return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M:%S")
    return str(value)
