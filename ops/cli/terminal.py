"""What the commands share: where output goes, how errors end, and the way to control.

Data goes to stdout, everything else to stderr; it must not know any command.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
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

from core.errors import KeyRefused, LoraLoopError, NoTerminal, Unreachable
from core.settings import Settings, load

# A pipe has no width of its own, and a table cut to 80 columns would hide numbers.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 180)
err = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", envvar="LORALOOP_CONFIG")]
# Of a command below a group that has one: after the verb, too.
OwnConfig = Annotated[Path | None, typer.Option("--config", "-c", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
DEFAULT_CONFIG = Path("loraloop.yaml")
# Longest wait for an answer after the last byte, while control reads a large file.
UPLOAD_SECONDS = 600
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
def count_bar(what: str, total: int | None) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar with count, rate and time left on a terminal, nothing elsewhere; call it with what is done, and how far.

    Rate and time begin anew with each thing that is done.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=err, transient=True, disable=not err.is_terminal, speed_estimate_period=RATE_SECONDS
    ) as progress:
        task = progress.add_task(what, total=total)

        def tell_of(doing: str, done: int, of: int | None) -> None:
            if progress.tasks[0].description != doing:
                progress.reset(task, description=doing)
            progress.update(task, completed=done, total=of)

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
    """Whether to go on with a change: asks on a terminal, and elsewhere wants --yes. Raises NoTerminal."""
    tell(what)
    if dry_run:
        tell("Nothing was done (--dry-run).")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise NoTerminal("There is no terminal to ask on.", hint="Add --yes to do it, or --dry-run to see.")
    return typer.confirm("Go on?", err=True)


class ControlClient:
    """Asks control, or a gateway by its name and URL, over HTTP; its errors are ours."""

    def __init__(self, settings: Settings, *, name: str = "Control", url: str | None = None) -> None:
        self._name = name
        self._url = url or settings.control_url
        # A command asks a few times and ends: no connection is kept open behind it.
        self._http = httpx.Client(
            base_url=self._url,
            headers=settings.bearer,
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def get(self, path: str, **query: Any) -> Any:
        """A reading call."""
        return self._ask("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any) -> Any:
        """An acting call."""
        return self._ask("POST", path, json=body)

    def upload(self, path: str, content: Iterable[bytes], size: int, **query: Any) -> Any:
        """An acting call with a file for its body, sent as it is read."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._ask("POST", path, content=content, headers=headers, params=query, timeout=UPLOAD_SECONDS)

    @contextmanager
    def download(self, method: str, path: str, **query: Any) -> Iterator[tuple[int | None, Iterator[bytes]]]:
        """A call that answers with a file: its size in bytes, if that is known, and its bytes."""
        params = {k: v for k, v in query.items() if v is not None}
        with self._answered(), self._http.stream(method, path, params=params, timeout=UPLOAD_SECONDS) as response:
            if response.status_code >= 400:
                response.read()
                self._refuse(response)
            size = response.headers.get("content-length")
            yield int(size) if size else None, response.iter_bytes()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        with self._answered():
            response = self._http.request(method, path, **how)
        self._refuse(response)
        return response.json()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            what = f"{self._name} at {self._url} does not answer."
            raise Unreachable(what, hint="Start it with: loraloop up") from error

    def _refuse(self, response: httpx.Response) -> None:
        if response.status_code == 401:
            raise KeyRefused(f"{self._name} wants a key, and one that is valid.", hint="Do: export LORALOOP_KEY=llk_…")
        if response.status_code >= 400:
            raise LoraLoopError(_message(response))


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"Control answered {response.status_code}: {response.text[:200]}"


def show(rows: Any, as_json: bool, columns: dict[str, str], empty: str) -> None:
    """Rows as JSON or as a table of the named columns (field: heading)."""
    if as_json:
        print_json(rows)
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


def print_json(value: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(value, indent=1, default=str))


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, str) and len(value) > 18 and value[4] == "-" and "T" in value:
        return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M:%S")
    return str(value)
