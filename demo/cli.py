"""The demo's command line: its options, and what happens on Ctrl-C."""

import signal
import sys
from typing import Annotated

import typer

from core.errors import InputError
from ops.cli.terminal import err, tell

Models = Annotated[str, typer.Option("--models", help="reviews, movies, tweets, editorials, a comma list, or all.")]
Share = Annotated[float, typer.Option("--label-share", min=0.05, max=1, help="Share of votes that bring a label.")]
Quick = Annotated[bool, typer.Option("--quick", help="A third of the traffic: to see it move, not to prove anything.")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")]


def demo(models: Models = "reviews", label_share: Share = 0.5, quick: Quick = False, keep: Keep = False) -> None:
    """Run the whole loop on real human ratings and write demo-run/out/report.json and report.html."""
    from demo import runner
    from demo.ratings import FILES

    wanted = list(FILES) if models == "all" else [name.strip() for name in models.split(",")]
    unknown = [name for name in wanted if name not in FILES]
    if unknown:
        raise InputError(f"--models {unknown[0]}: no such data.", hint=f"Use one of: {', '.join(FILES)}, or all.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        runner.run_demo(wanted, label_share=label_share, quick=quick, keep=keep, tell=tell)
    except KeyboardInterrupt:
        err.print("Stopped; nothing is left running. The next run starts clean.")
        sys.exit(130)
