"""The command that shows the logs of this machine's processes."""

from datetime import datetime
from typing import Annotated, Literal

import typer

from core.errors import NotReady
from ops.cli.control_choice import local
from ops.cli.moments import Since
from ops.cli.output_format import AsData, print_row
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, settings_from
from ops.local import log_reader
from ops.local.log_reader import PROCESSES, Line, LogReader

Process = Annotated[Literal["up", "engine", "control", "gateway"] | None, typer.Argument(help="Only this process.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")]
Lines = Annotated[
    int | None, typer.Option("--lines", "-n", min=0, help="Last lines of each log. Default: 50, with --since all.")
]
USUAL_LINES = 50


@local
def logs(
    process: Process = None,
    follow: Follow = False,
    lines: Lines = None,
    since: Since = None,
    as_data: AsData = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show the logs of this machine's processes, ordered by time. Rotated files count as well.

    -o json prints one object per line, -o yaml one item of a list per line of the log.
    """
    folder = settings_from(config).data / "logs"
    if not folder.is_dir():
        raise NotReady(f"There are no logs in {folder}.", hint="LoraLoop has not run here. Start it: loraloop up")
    readers = [LogReader(folder, name) for name in ([process] if process else PROCESSES)]
    begin = datetime.fromisoformat(since) if since else None
    count = USUAL_LINES if lines is None and begin is None else lines
    several = process is None
    for line in log_reader.read_last(readers, count, begin):
        _print(line, several, as_data)
    if follow:
        for line in log_reader.follow(readers):
            _print(line, several, as_data)


def _print(line: Line, several: bool, as_data: bool) -> None:
    if as_data:
        at = None if line.time == log_reader.NEVER else line.time.isoformat()
        print_row({"time": at, "process": line.process, "text": line.text})
    else:
        print(f"{line.process:7} | {line.text}" if several else line.text, flush=True)
