"""Commands of retention: show what would be deleted, delete it, and list what was deleted."""

import time
from typing import Annotated, Any

import typer

from core.errors import LoraLoopError
from ops.cli.change_report import print_changed
from ops.cli.changes import Comment, said
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    out,
    tell,
)
from ops.cli.terminal import show as show_rows

LOOK_SECONDS = 0.5
COLUMNS = {
    "what": "data",
    "kept_for": "kept for",
    "rows": "rows",
    "size": "size",
    "old_rows": "would go",
    "old_size": "size",
    "needed": "needed at any age",
}
LOG_COLUMNS = {"id": "deletion", "started": "time (UTC)", "state": "state", "actor": "by", "said": "deleted"}


def show(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Show what there is of each kind of data, and what would be deleted now."""
    found = client_of(config).get("/api/retention")
    if as_data:
        print_data(found)
        return
    _print(found)


def run(
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Delete now what is older than the settings of `retention`. It waits for a run that is working."""
    client = client_of(config)
    found = client.get("/api/retention")
    if dry_run and as_data:
        print_changed(found, dry_run=True)
        return
    if not as_data:
        _print(found)
    if not agreed("This cannot be undone. The store's file is rewritten.", yes, dry_run):
        return
    done = client.post("/api/retention/runs", said(comment))
    while done["state"] in ("queued", "deleting", "rewriting"):
        time.sleep(LOOK_SECONDS)
        done = client.get(f"/api/retention/runs/{done['id']}")
    if as_data:
        print_changed(done)
    else:
        out.print(f"{done['id']} is {done['state']}: {_deleted(done)}", markup=False)
    if done["state"] != "done":
        raise LoraLoopError("The deletion broke off.", hint="See data/logs/control.log, and run it again.")


def log(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Maximum number of rows.")] = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List deletions, newest first."""
    found = client_of(config).get("/api/retention/runs", limit=limit)
    rows = found if as_data else [row | {"said": _deleted(row)} for row in found]
    show_rows(rows, as_data, LOG_COLUMNS, "Nothing was deleted yet.")


def _print(found: dict[str, Any]) -> None:
    rows = [
        kind
        | {
            "kept_for": "ever" if kind["days"] is None else f"{kind['days']} days",
            "size": _size(kind["bytes"]),
            "old_size": _size(kind["old_bytes"]),
            "needed": len(kind["kept"]) or "",
        }
        for kind in found["kinds"]
    ]
    show_rows(rows, False, COLUMNS, "")
    when = f"Control deletes by the cron line {found['schedule']!r} (UTC)" if found["schedule"] else "No schedule"
    tell(f"{when}, from {found['begins'][:10]} on." if found["schedule"] and found["begins"] else f"{when}.")


def _deleted(row: dict[str, Any]) -> str:
    parts = [f"{one['rows']} {kind}" for kind, one in row["deleted"].items() if kind != "rewritten"]
    return ", ".join(parts) or "nothing"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
