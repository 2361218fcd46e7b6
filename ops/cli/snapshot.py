"""Commands for snapshots: show the report of one, and write its rows to a file."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from core.errors import LoraLoopError
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    Yes,
    agreed,
    bytes_bar,
    out,
    show,
    tell,
)
from ops.snapshot_report import as_html, sections

Identity = Annotated[
    str, typer.Argument(metavar="RUN_OR_HASH", help="A run's id, the beginning of a hash, or a model: its newest.")
]
OutFile = Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")]
FormatOption = Annotated[
    Literal["parquet", "openai", "pairs", "preferences"],
    typer.Option(
        "--format",
        help="parquet: all rows. pairs: all pairs, as Parquet. openai: a fine-tuning file (JSONL) of one bucket's "
        "rows. preferences: one of its compared answers.",
    ),
]
BucketOption = Annotated[str, typer.Option("--bucket", help="Bucket of a fine-tuning file: train, dev, h1 to h4.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Write the report to an HTML file.")]


def show_report(
    identity: Identity, html: HtmlOption = None, config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False
) -> None:
    """Show what a snapshot has: rows and users, same texts, label noise, and what was left out."""
    report = client_of(config).get(f"/api/snapshots/{identity}")
    if html is not None:
        try:
            html.write_text(as_html(report), encoding="utf-8")
        except OSError as error:
            raise LoraLoopError(f"{html} cannot be written: {error.strerror}.", hint="Choose another place.") from error
        tell(f"Wrote {html}.")
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
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write a snapshot's rows or pairs to a file. It holds what users wrote."""
    if path.exists() and not agreed(f"{path} exists and is replaced.", yes, False):
        return
    part = path.with_name(path.name + ".part")
    client = client_of(config)
    try:
        with (
            client.download("GET", f"/api/snapshots/{identity}/rows", format=format, bucket=bucket) as (size, pieces),
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
            bytes_bar("Exporting the snapshot", size) as advance,
        ):
            for piece in pieces:
                file.write(piece)
                advance(len(piece))
        os.replace(part, path)
    except OSError as error:
        raise LoraLoopError(f"{path} cannot be written: {error.strerror}.", hint="Choose another place.") from error
    finally:
        part.unlink(missing_ok=True)
    tell(f"Wrote the snapshot to {path}.")
