"""Start the demo: `python -m demo`. It runs from a checkout; the wheel does not contain it."""

import sys

import typer

from core.errors import LoraLoopError
from demo.cli import demo
from ops.cli.terminal import err

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
app.command()(demo)


def main() -> None:
    """Run the demo; an expected error is one sentence with its fix and exit code 1."""
    try:
        app(prog_name="python -m demo")
    except LoraLoopError as error:
        err.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
