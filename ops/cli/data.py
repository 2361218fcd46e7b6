"""Commands that take data out and bring it in: export, import.

It owns files on the person's side, and says line by line what is wrong with one before anything is sent.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from core.clock import utc_now
from core.errors import InputError, LoraLoopError
from ops import data_files
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    JsonOption,
    Yes,
    agreed,
    bytes_bar,
    count_bar,
    print_json,
    settings_from,
    tell,
)
from ops.client import ControlClient
from ops.data_files import COLUMNS, Kind

BATCH = 1000
MOST_ERRORS = 20
KindArgument = Annotated[Kind, typer.Argument(help="What to take out.")]
OutFile = Annotated[Path, typer.Argument(metavar="PATH", help="A file that ends in .jsonl or .parquet.")]
InFile = Annotated[Path, typer.Argument(metavar="PATH", help="Feedback: .jsonl with one row per line, or .parquet.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Only feedback that this key gave, by the key's id.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only this model.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("export")(take_out)
    app.command("import")(bring_in)


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
    client = ControlClient(settings_from(config))
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


def bring_in(
    path: InFile,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Bring feedback in from a file, with its own times; rows that are known by their id already change nothing.

    A row has the fields of POST /v1/feedback, and time, revoked_at and key_id. One bad line, and nothing is sent.
    """
    data_files.require_ending(path)
    count = _check(path)
    if not agreed(f"{count} rows of {path} are taken in as feedback.", yes, dry_run):
        return
    client, total = ControlClient(settings_from(config)), {"added": 0, "known": 0}
    rows = (row for _, row in data_files.read(path))
    with count_bar("Importing feedback", count) as progress:
        while batch := list(islice(rows, BATCH)):
            done = client.post("/api/feedback/import", batch)
            total = {name: total[name] + done[name] for name in total}
            progress("Importing feedback", sum(total.values()), count)
    if json:
        print_json(total)
    tell(f"{total['added']} rows are new, {total['known']} were known already.")


def _check(path: Path) -> int:
    """How many rows there are. Raises InputError that names the first bad lines."""
    from feedback.importer import parse_record

    wrong: list[str] = []
    count = 0
    for number, row in data_files.read(path):
        count += 1
        try:
            if isinstance(row, InputError):
                raise row
            parse_record(row, utc_now)
        except InputError as error:
            wrong.append(f"line {number}: {error}")
    for sentence in wrong[:MOST_ERRORS]:
        tell(sentence)
    if wrong:
        raise InputError(
            f"{path}: {len(wrong)} of {count} rows cannot be taken, the first in {wrong[0]}", hint="Nothing was sent."
        )
    if not count:
        raise InputError(f"{path} holds no rows.")
    return count
