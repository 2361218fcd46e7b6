"""Commands for snapshots: show the report of one, and write its rows to a file."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ops.cli import streams
from ops.cli.change_report import print_changed
from ops.cli.control_choice import client_of
from ops.cli.data import HiddenLabels, tell_left_out
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    Yes,
    bytes_bar,
    out,
    show,
    tell,
)
from ops.snapshot_report import as_html, sections

Identity = Annotated[
    str, typer.Argument(metavar="RUN_OR_HASH", help="A run's id, the beginning of a hash, or a model: its newest.")
]
OutFile = Annotated[Path, typer.Argument(metavar="PATH", help="The file to write, or - for stdout.")]
FormatOption = Annotated[
    Literal["parquet", "openai", "pairs", "preferences"],
    typer.Option(
        "--format",
        help="parquet: all rows. pairs: all pairs, as Parquet. openai: a fine-tuning file (JSONL) of one bucket's "
        "rows. preferences: one of its compared answers.",
    ),
]
BucketOption = Annotated[str, typer.Option("--bucket", help="Bucket of a fine-tuning file: train, dev, h1 to h4.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", metavar="PATH", help="Write the report to an HTML file, - for stdout.")
]


def show_report(
    identity: Identity, html: HtmlOption = None, config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False
) -> None:
    """Show what a snapshot has: rows and users, same texts, label noise, and what was left out."""
    report = client_of(config).get(f"/api/snapshots/{identity}")
    if html is not None:
        with streams.written(html, as_text=True) as file:
            file.write(as_html(report).encode())
        tell(f"Wrote {streams.name_of(html)}.")
        return
    if as_data:
        print_data(report)
        return
    out.print(f"{report['hash']} of {report['model']}, {report['run_id']}", style="bold", markup=False)
    for section in sections(report):
        out.print(section.title, style="bold", markup=False)
        rows = [dict(zip(section.columns, row, strict=True)) for row in section.rows]
        show(rows, False, {column: column for column in section.columns}, "")


def export(
    identity: Identity,
    path: OutFile,
    format: FormatOption = "parquet",
    bucket: BucketOption = "train",
    hidden_labels: HiddenLabels = False,
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Write a snapshot's rows or pairs to a file. It holds what users wrote."""
    streams.require_free_stdout(path, as_data)
    if not streams.may_write(path, yes):
        return
    query: dict[str, Any] = {"format": format, "bucket": bucket}
    query |= {"hidden_labels": True} if hidden_labels else {}
    rows = f"/api/snapshots/{identity}/rows"
    with (
        client_of(config).download("GET", rows, **query) as (size, pieces, left_out),
        streams.written(path, as_text=format in ("openai", "preferences")) as file,
        bytes_bar("Exporting the snapshot", size) as advance,
    ):
        for piece in pieces:
            file.write(piece)
            advance(len(piece))
    if as_data:
        print_changed({"path": str(path), "format": format, "bytes": path.stat().st_size})
    tell(f"Wrote the snapshot to {streams.name_of(path)}.")
    tell_left_out(left_out)
