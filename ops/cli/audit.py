"""Commands about the audit log: its rows, and whether its chain is whole."""

from typing import Annotated

import typer

from ops.cli.control_choice import client_of
from ops.cli.moments import Since, Until
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    out,
    show,
)

ActOption = Annotated[str | None, typer.Option("--act", help="An act such as keys.create, or a group such as keys.")]
ActorOption = Annotated[str | None, typer.Option("--actor", help="Only actors whose name or key id has this text.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Only this model.")]
OutcomeOption = Annotated[str | None, typer.Option("--outcome", help="ok, refused or failed.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Maximum number of rows.")]


def audit(
    actor: ActorOption = None,
    act: ActOption = None,
    model: ModelOption = None,
    outcome: OutcomeOption = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List acts, newest first: keys, exports, reads of texts, log-ins, decisions, refused requests. Needs `admin`."""
    query = {"act": act, "actor": actor, "model": model, "outcome": outcome, "since": since, "until": until}
    rows = client_of(config).get("/api/audit", **query, limit=limit)
    if not as_data:
        for row in rows:
            row["outcome"] += f" {row['status']}" if row["status"] >= 400 else ""
            row["act"] += f" ×{row['n']}" if row["n"] > 1 else ""
            row["actor"] = row["actor"] or "nobody"
    columns = {
        "seq": "#",
        "time": "time (UTC)",
        "act": "act",
        "outcome": "outcome",
        "actor": "actor",
        "address": "from",
        "model": "model",
        "object": "about",
    }
    show(rows, as_data, columns, "No acts.")


def verify(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Prove that no row of the audit log was changed, removed or cut off, but by its retention. Needs `admin`."""
    report = client_of(config).get("/api/audit/chain", whole=True)
    if as_data:
        print_data(report)
    else:
        state = "whole" if report["ok"] else "BROKEN"
        written = " It cannot be written." if report["failing"] else ""
        out.print(f"{state}: {report['reason']}{written}  Head: {report['head']}", markup=False)
    if not report["ok"] or report["failing"]:
        raise typer.Exit(1)
