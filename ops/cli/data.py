"""The command that takes data out: export."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ops import data_files
from ops.cli import streams
from ops.cli.change_report import print_changed
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, Yes, bytes_bar, tell
from ops.data_files import COLUMNS, Kind

KindArgument = Annotated[Kind, typer.Argument(help="What to take out.")]
OutFile = Annotated[
    Path, typer.Argument(metavar="PATH", help="A .jsonl or .parquet file, or - for JSON lines on stdout.")
]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only feedback that this key gave, by the key's id.")]
HiddenLabels = Annotated[
    bool,
    typer.Option(
        "--hidden-labels", help="Also labels of other reviewers on answers that you can still label yourself."
    ),
]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only this model.")]


def take_out(
    kind: KindArgument,
    path: OutFile,
    model: ModelOption = None,
    key: KeyOption = None,
    hidden_labels: HiddenLabels = False,
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Write feedback, interactions or decisions to a JSONL or Parquet file. It holds what users wrote, unscrubbed."""
    streams.require_free_stdout(path, as_data)
    if not streams.is_stream(path):
        data_files.require_ending(path)
    if not streams.may_write(path, yes):
        return
    query: dict[str, Any] = {"model": model, "key": key} | ({"hidden_labels": True} if hidden_labels else {})
    as_parquet = path.suffix == ".parquet"
    with (
        client_of(config).download("GET", f"/api/export/{kind}", **query) as (_, pieces, left_out),
        streams.written(path, as_text=not as_parquet) as file,
        bytes_bar(f"Exporting {kind}", None) as advance,
    ):
        count = data_files.write(file, _batches(pieces, advance), COLUMNS[kind], as_parquet=as_parquet)
    if as_data:
        print_changed({"path": str(path), "kind": str(kind), "rows": count, "bytes": path.stat().st_size})
    tell(f"Wrote {count} {kind} to {streams.name_of(path)}.")
    tell_left_out(left_out)


def tell_left_out(models: str) -> None:
    """Say that a file lacks labels of other reviewers, if it lacks some of these models."""
    if models:
        tell(f"Labels of {models} that you can still give are left out. With --hidden-labels, the file has them.")


def _batches(pieces: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[list[bytes]]:
    """Whole lines out of pieces that end anywhere."""
    rest = b""
    for piece in pieces:
        advance(len(piece))
        *whole, rest = (rest + piece).split(b"\n")
        yield whole
