"""The command that brings interactions and feedback in from files of other tools.

Each row is turned into records here, so that a file is checked line by line before anything is sent.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from core.clock import utc_now
from core.errors import InputError, NotFound
from core.record_codec import encode
from core.records import Feedback, Interaction, Revocation
from feedback.formats.metrics import Metrics
from feedback.formats.registry import Format, guess, parts_of
from feedback.formats.source import LeftOut, Part, Target
from ops import data_files
from ops.cli import streams
from ops.cli.change_report import print_changed
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    agreed,
    count_bar,
    tell,
)
from ops.client import ControlClient

# A request to control ends at the first of these two.
RECORDS_AT_ONCE = 5000
BYTES_AT_ONCE = 8 * 1024 * 1024
MOST_ERRORS = 20
ROWS_BETWEEN_REPORTS = 500
InFile = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="JSON lines, a JSON array, or Parquet: .jsonl, .ndjson, .json, .parquet. - is stdin."
    ),
]
IntoModel = Annotated[
    str | None, typer.Option("--model", "-m", help="The model that the rows are for. Not needed for LoraLoop's own.")
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="Where the file comes from. Guessed from the fields if left out."),
]
UserField = Annotated[
    str | None, typer.Option("--user-field", help="The field of an example that names the user who gave the feedback.")
]
Parts = Callable[[Any, Target], list[Part]]


@dataclass
class Found:
    """What a file has: rows, records by kind, parts left out by reason, and the errors by line."""

    rows: int = 0
    records: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, parts: list[Part]) -> None:
        """Counts what a row has."""
        for part in parts:
            match part:
                case LeftOut(reason):
                    self.left_out[reason] += 1
                case Interaction():
                    self.records["interactions"] += 1
                case Feedback():
                    self.records[part.type] += 1
                case Revocation():
                    self.records["taken back"] += 1


def bring_in(
    path: InFile,
    model: IntoModel = None,
    format: FormatOption = None,
    user_field: UserField = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_data: AsData = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Bring in interactions and their feedback from a file, with their own times. A second import adds nothing.

    Reads fine-tuning files of OpenAI, preference sets of Hugging Face, and exports of Langfuse, TensorZero, Open WebUI
    and LoraLoop. A line with an error is named and left out. The others are imported, and the exit code is 1.
    """
    if not streams.is_stream(path):
        data_files.require_ending(path, data_files.READABLE)
    client, name = client_of(config), streams.name_of(path, "stdin")
    with streams.readable(path, yes, dry_run) as file:
        chosen = format or _guessed(file)
        target = _target(client, model, chosen, user_field)
        parts = parts_of(chosen)
        found = _check(file, parts, target)
        for sentence in found.errors[:MOST_ERRORS]:
            tell(sentence)
        if not found.records:
            raise InputError(f"{name} has no row to import: {_why_none(found)}", hint="Nothing was sent.")
        if not agreed(_summary(name, found, model), yes, dry_run):
            if dry_run and as_data:
                print_changed(_planned(found), dry_run=True)
            return
        done = _send(file, parts, target, client, found.rows)
    if as_data:
        print_changed(done | {"refused": found.errors + done["refused"], "left_out": dict(found.left_out)})
    _report(done)
    refused = len(found.errors) + len(done["refused"])
    if refused:
        raise InputError(
            f"{name}: {refused} of {found.rows} rows were left out, the first in "
            f"{(found.errors or done['refused'])[0]}",
            hint="Correct them and import the file again: what is known already is not added twice.",
        )


def _guessed(path: Path) -> Format:
    found = guess(data_files.read(path))
    tell(f"Format: {found.format}, by the fields of line {found.number}. Another: --format.")
    return found.format


def _target(client: ControlClient, model: str | None, chosen: Format, user_field: str | None) -> Target:
    """What rows become, by the settings of control: the labels of its models, and the meanings of metrics."""
    if model is None and chosen is not Format.LORALOOP:
        raise InputError("--model: is needed, because the file does not name one of your models.", field="model")
    known = client.get("/api/import")
    models: dict[str, list[str]] = known["models"]
    if model is not None and model not in models:
        raise NotFound("model", model, where="in the settings", hint=f"Models: {', '.join(models)}.")
    own = tuple(models[model]) if model else ()
    metrics = Metrics.of(known["metrics"], own or [label for labels in models.values() for label in labels])
    return Target(model or "", own, metrics, utc_now(), user_field)


def _check(path: Path, parts: Parts, target: Target) -> Found:
    """Reads the whole file once, without sending anything."""
    found = Found()
    with count_bar("Checking", None) as progress:
        for number, row in data_files.read(path):
            found.rows += 1
            try:
                found.add(parts(row, target))
            except InputError as error:
                found.errors.append(f"line {number}: {error}")
            if found.rows % ROWS_BETWEEN_REPORTS == 0:
                progress("Checking", found.rows, None)
    if not found.rows:
        raise InputError(f"{path.name} holds no rows.")
    return found


def _summary(name: str, found: Found, model: str | None) -> str:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.records.items()))
    lines = [f"{name}: {found.rows:,} rows{f' for {model}' if model else ''}: {counts}."]
    lines += [f"Left out: {count:,} × {reason}." for reason, count in sorted(found.left_out.items())]
    if found.errors:
        lines.append(f"Errors: {len(found.errors):,} rows, which are left out.")
    return "\n".join(lines)


def _planned(found: Found) -> dict[str, Any]:
    """What an import would add if nothing of it is known yet, with the fields of what it adds."""
    interactions = found.records["interactions"]
    return {
        "interactions": interactions,
        "feedback": found.records.total() - interactions,
        "known": None,
        "refused": found.errors,
        "rows_per_s": None,
        "left_out": dict(found.left_out),
    }


def _why_none(found: Found) -> str:
    if found.errors:
        return f"{len(found.errors)} of {found.rows} rows have errors, the first in {found.errors[0]}"
    return ", ".join(f"{count} × {reason}" for reason, count in found.left_out.items()) + "."


def _batches(path: Path, parts: Parts, target: Target) -> Iterator[tuple[int, list[tuple[int, bytes]]]]:
    """(rows read so far, records with the lines that they came from), in pieces that fit a request."""
    batch: list[tuple[int, bytes]] = []
    size = rows = 0
    for number, row in data_files.read(path):
        rows += 1
        try:
            made = [encode(part) for part in parts(row, target) if not isinstance(part, LeftOut)]
        except InputError:
            continue  # named by the check
        batch += [(number, record) for record in made]
        size += sum(map(len, made))
        if len(batch) >= RECORDS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield rows, batch
            batch, size = [], 0
    if batch:
        yield rows, batch


def _send(path: Path, parts: Parts, target: Target, client: ControlClient, rows: int) -> dict[str, Any]:
    started = time.monotonic()
    done: dict[str, Any] = {"interactions": 0, "feedback": 0, "known": 0, "refused": []}
    with count_bar("Importing", rows) as progress:
        for read, batch in _batches(path, parts, target):
            content = b"[" + b",".join(record for _, record in batch) + b"]"
            answer = client.upload("/api/import", [content], len(content))
            for name in ("interactions", "feedback", "known"):
                done[name] += answer[name]
            done["refused"] += [f"line {batch[place][0]}: {reason}" for place, reason in answer["refused"]]
            progress("Importing", read, rows)
    done["rows_per_s"] = round(rows / max(time.monotonic() - started, 1e-3))
    return done


def _report(done: dict[str, Any]) -> None:
    for sentence in done["refused"][:MOST_ERRORS]:
        tell(sentence)
    tell(
        f"{done['interactions']:,} interactions and {done['feedback']:,} feedback are new, "
        f"{done['known']:,} were known already. {done['rows_per_s']:,} rows/s."
    )
