"""The `loraloop` command: all groups together, and how errors end.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from core.errors import LoraLoopError
from ops.cli import (
    adapters,
    alarms,
    audit,
    backup,
    canary,
    changes,
    data,
    dead_letters,
    erasing,
    help_examples,
    importing,
    keys,
    notifications,
    plan,
    quarantine,
    reports,
    retention,
    runs,
    server,
    snapshot,
    suites,
    top,
)
from ops.cli.terminal import err

CONTEXT = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    name="loraloop",
    context_settings=CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
GROUPS = (
    server,
    reports,
    top,
    changes,
    runs,
    canary,
    suites,
    plan,
    adapters,
    quarantine,
    snapshot,
    keys,
    audit,
    alarms,
    notifications,
    backup,
    data,
    dead_letters,
    erasing,
    retention,
    importing,
)


def print_version(wanted: bool) -> None:
    """Print the installed version, and exit."""
    if wanted:
        print(f"loraloop {installed_version('loraloop')}")
        raise typer.Exit


@app.callback()
def top_level(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Serve LoRA adapters on vLLM, retrain them from feedback, promote only what measurably wins."""


for group in GROUPS:
    group.register(app)
help_examples.teach(app)


def main() -> None:
    """Runs the command; an error of ours is one sentence with its fix and exit code 1."""
    try:
        app()
    except LoraLoopError as error:
        err.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
