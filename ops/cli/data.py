"""The command that takes data out: export."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from core.errors import LoraLoopError
from ops import data_files
from ops.cli.control_choice import client_of
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    Yes,
    agreed,
    bytes_bar,
    tell,
)
from ops.data_files import COLUMNS, Kind

KindArgument = Annotated[Kind, typer.Argument(help="What to take out.")]
OutFile = Annotated[Path, typer.Argument(metavar="PATH", help="A file that ends in .jsonl or .parquet.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only feedback that this key gave, by the key's id.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only this model.")]


def take_out(
    kind: KindArgument,
    path: OutFile,
    model: ModelOption = None,
    key: KeyOption = None,
    yes: Yes = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write feedback, interactions or decisions to a JSONL or Parquet file. It holds what users wrote, unscrubbed."""
    data_files.require_ending(path)
    if path.exists() and not agreed(f"{path} exists and is replaced.", yes, False):
        return
    part = path.with_name(path.name + ".part")
    client = client_of(config)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with (
            client.download("GET", f"/api/export/{kind}", model=model, key=key) as (_, pieces),
            bytes_bar(f"Exporting {kind}", None) as advance,
        ):
            # The path's own ending decides the format, so the part is written under the same rule.
            count = data_files.write(
                part, _batches(pieces, advance), COLUMNS[kind], as_parquet=path.suffix == ".parquet"
            )
        os.replace(part, path)
    except OSError as error:
        raise LoraLoopError(f"{path} cannot be written: {error.strerror}.", hint="Choose another place.") from error
    finally:
        part.unlink(missing_ok=True)
    tell(f"Wrote {count} {kind} to {path}.")


def _batches(pieces: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[list[bytes]]:
    """Whole lines out of pieces that end anywhere."""
    rest = b""
    for piece in pieces:
        advance(len(piece))
        *whole, rest = (rest + piece).split(b"\n")
        yield whole
