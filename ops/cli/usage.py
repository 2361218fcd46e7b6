"""The command `usage`: what models and keys used, and what it cost."""

from typing import Annotated, Literal

import typer

from ops.cli.control_choice import client_of
from ops.cli.moments import Since, Until
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, show, tell


def usage(
    by: Annotated[Literal["day", "month"], typer.Option("--by", help="Length of a period, in UTC.")] = "day",
    split: Annotated[Literal["model", "key"], typer.Option("--split", help="One row per model, or per key.")] = "model",
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only requests with this key, by the key's id.")] = None,
    since: Since = None,
    until: Until = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Show requests, errors, tokens and cost per day or month: the last 30 days, or 12 months."""
    query = {"by": by, "split": split, "model": model, "key": key, "since": since, "until": until}
    found = client_of(config).get("/api/usage", **query)
    if as_data:
        print_data(found)
        return
    columns = {
        "period": by,
        split: split,
        "requests": "requests",
        "errors": "errors",
        "prompt_tokens": "prompt tokens",
        "completion_tokens": "completion tokens",
    }
    priced = found["priced_by"] is not None
    rows = [*found["rows"], found["total"] | {"period": "total", split: ""}] if found["rows"] else []
    shown = [
        {"period": row["period"], split: "none" if row[split] is None else row[split]}
        | {name: f"{row[name]:,}" for name in list(columns)[2:]}
        | ({"cost": f"{row['cost']:,.2f}"} if priced else {})
        for row in rows
    ]
    show(shown, False, columns | ({"cost": "cost"} if priced else {}), "No request came in.")
    if found["unused_cost"]:
        tell(f"Days without a request cost {found['unused_cost']:,.2f} more.")
    for sentence in found["how"]:
        tell(sentence)
