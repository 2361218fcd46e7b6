"""The command `top`: a live view for a terminal.

It owns drawing and keys; the numbers are `ops.top`'s.
"""

import select
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.errors import NoTerminal
from ops.cli.control_choice import Gateways, chosen
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, cell, err, out

# How soon a key or a resized window is noticed.
TICK_SECONDS = 0.25
Interval = Annotated[float, typer.Option("--interval", "-i", min=0.2, max=3600, help="Seconds between looks.")]
Once = Annotated[bool, typer.Option("--once", help="Print one picture and end; its numbers are of all time.")]


def top(
    interval: Interval = 2.0,
    once: Once = False,
    gateway: Gateways = [],  # noqa: B006  Typer copies it
    as_data: AsData = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Watch engines, traffic split, latency, feedback, runs and canaries live; q or Ctrl-C ends it."""
    from ops.top import Poller, summarize

    control = chosen(config)
    gateways, is_local = control.gateways(gateway), control.settings is not None
    watcher = Poller(control.url, gateways, key=control.key, key_hint=control.key_hint, is_local=is_local)
    try:
        if once or as_data:
            seen = summarize(watcher.look(), None)
            print_data(seen) if as_data else out.print(draw(seen))
            if seen["down"]:
                for sentence in seen["down"]:
                    err.print(f"error: {sentence}", style="red", markup=False)
                raise typer.Exit(1)
        elif sys.stdout.isatty():
            _watch(watcher, interval)
        else:
            raise NoTerminal("top needs a terminal.", hint="Use --once or --json elsewhere.")
    finally:
        watcher.close()


def _watch(watcher: Any, interval: float) -> None:
    from ops.top import summarize

    before, seen, ending = None, None, threading.Event()

    def look_later() -> Any:
        ending.wait(interval)
        return watcher.look()

    # Another thread reads the numbers, so that a dead host never delays the answer to a key.
    with _keys() as pressed, ThreadPoolExecutor(1) as pool, Live(console=out, screen=True, auto_refresh=False) as live:
        asked = pool.submit(watcher.look)
        try:
            while not pressed("q"):
                if asked.done():
                    now = asked.result()
                    seen, before = summarize(now, before), now
                    asked = pool.submit(look_later)
                live.update(draw(seen) if seen else Text("Looking …"), refresh=True)
        except KeyboardInterrupt:
            pass
        finally:
            ending.set()


@contextmanager
def _keys() -> Iterator[Any]:
    """Yields a function that waits a moment and says whether a key was pressed."""
    if not sys.stdin.isatty():
        yield lambda _: time.sleep(TICK_SECONDS)
        return
    import termios
    import tty

    kept = termios.tcgetattr(sys.stdin)

    def pressed(key: str) -> bool:
        ready, _, _ = select.select([sys.stdin], [], [], TICK_SECONDS)
        return bool(ready) and sys.stdin.read(1).lower() in (key, "")  # nothing to read: the terminal is gone

    try:
        tty.setcbreak(sys.stdin)
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, kept)


def draw(seen: dict[str, Any]) -> RenderableType:
    """The picture for any width; every state is said in words too, not by colour alone."""
    parts: list[RenderableType] = [Text(f"DOWN: {sentence}", style="bold red") for sentence in seen["down"]]
    parts.append(_engines(seen["engines"]))
    for model in seen["models"]:
        parts += [_headline(model), _traffic(model["versions"])]
    parts += [_feedback(seen["feedback"]), _runs(seen["runs"]), _spool(seen["spool"])]
    return Group(*parts)


def _engines(rows: list[dict[str, Any]]) -> RenderableType:
    return _table(
        "engines",
        rows,
        {"url": "engine", "state": "state", "missing": "lacks", "error": "error"},
        lambda row: {
            "state": "ready" if row["ready"] else "NOT READY",
            "missing": ", ".join(row["missing"]) or None,
        },
    )


def _traffic(rows: list[dict[str, Any]]) -> RenderableType:
    return _table(
        "traffic",
        rows,
        {
            "version": "version",
            "role": "role",
            "per_second": "req/s",
            "part": "share",
            "p95_ms": "p95 ms",
            "in_flight": "in flight",
            "requests": "requests",
            "errors": "failed",
        },
        lambda row: {
            "part": _percent(row["share"]),
            "p95_ms": _short(row["p95_ms"]),
            "per_second": _short(row["per_second"]),
        },
    )


def _feedback(by_type: dict[str, dict[str, Any]]) -> RenderableType:
    return _table(
        "feedback",
        [{"type": kind, **counted} for kind, counted in by_type.items()],
        {"type": "feedback", "per_second": "per s", "count": "count"},
        lambda row: {"per_second": _short(row["per_second"])},
    )


def _runs(rows: list[dict[str, Any]]) -> RenderableType:
    return _table(
        "runs",
        rows,
        {
            "id": "run",
            "model": "model",
            "state": "state",
            "step": "step",
            "started": "started (UTC)",
            "reason": "reason",
        },
        lambda row: {"step": _step(row["progress"])},
    )


def _spool(spool: dict[str, Any]) -> Text:
    lost = f", {spool['interactions_dropped']:.0f} interactions NOT KEPT" if spool["interactions_dropped"] else ""
    return Text(f"spool: {spool['unshipped_bytes'] / 1e6:.2f} MB on the way to control{lost}    q ends")


def _headline(model: dict[str, Any]) -> Text:
    canary = f", canary v{model['canary']} with {_percent(model['share'])}" if model["canary"] is not None else ""
    run = f", run {model['run']['state']}" if model["run"] else ""
    text = f"{model['model']}: champion v{model['champion']} since {cell(model['since'])}{canary}{run}, "
    return Text(f"{text}{model['new_feedback']} new feedback", style="bold")


def _table(title: str, rows: list[dict[str, Any]], columns: dict[str, str], more: Any) -> RenderableType:
    if not rows:
        return Text(f"no {title}", style="dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in columns.values():
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    for row in rows:
        shown = row | more(row)
        table.add_row(*(Text(cell(shown.get(name))) for name in columns))
    return table


def _step(progress: dict[str, Any] | None) -> str | None:
    return progress["text"] if progress else None


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _short(number: float | None) -> str | None:
    return None if number is None else f"{number:.1f}"
