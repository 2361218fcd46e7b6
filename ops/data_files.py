"""Tables on disk: rows as JSONL or Parquet, by a file's ending, read and written a batch at a time.

It owns both formats; it must not know what a row means. Where Parquet has no type for nested JSON, it holds its text.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from core.errors import InputError

ENDINGS = (".jsonl", ".parquet")
# Columns that hold JSON.
NESTED = ("value", "metadata", "request")
BATCH = 1000
Numbered = tuple[int, Any]


class Kind(StrEnum):
    """What can be exported."""

    FEEDBACK = "feedback"
    INTERACTIONS = "interactions"
    DECISIONS = "decisions"


# What each kind's columns are in Parquet.
COLUMNS = {
    Kind.FEEDBACK: {
        "id": "text",
        "time": "time",
        "interaction_id": "text",
        "conversation_id": "text",
        "type": "text",
        "value": "text",
        "comment": "text",
        "user": "text",
        "metadata": "text",
        "revoked_at": "time",
        "key_id": "text",
    },
    Kind.INTERACTIONS: {
        "id": "text",
        "time": "time",
        "model": "text",
        "version": "count",
        "arm": "text",
        "share": "number",
        "bucket": "number",
        "user": "text",
        "conversation": "text",
        "endpoint": "text",
        "request": "text",
        "answer": "text",
        "finish_reason": "text",
        "status": "count",
        "latency_ms": "number",
        "ttft_ms": "number",
        "prompt_tokens": "count",
        "completion_tokens": "count",
        "streamed": "bool",
    },
    Kind.DECISIONS: {
        "seq": "count",
        "id": "text",
        "time": "time",
        "model": "text",
        "from_version": "count",
        "to_version": "count",
        "verdict": "text",
        "reason": "text",
        "run_id": "text",
        "body": "text",
        "previous_hash": "text",
        "hash": "text",
    },
}


def require_ending(path: Path) -> None:
    """Raises InputError for a file whose ending names no format."""
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: its ending names no format.", hint=f"Call it {' or '.join(ENDINGS)}.")


def write(path: Path, batches: Iterable[list[bytes]], columns: dict[str, str], *, as_parquet: bool) -> int:
    """Writes lines of JSON and returns how many; `columns` names Parquet's columns with their types."""
    return _write_parquet(path, batches, columns) if as_parquet else _write_lines(path, batches)


def _write_lines(path: Path, batches: Iterable[list[bytes]]) -> int:
    count = 0
    with path.open("wb") as file:
        for batch in batches:
            file.writelines(line + b"\n" for line in batch)
            count += len(batch)
    return count


def _write_parquet(path: Path, batches: Iterable[list[bytes]], columns: dict[str, str]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "time": pa.timestamp("us", "UTC"),
        "text": pa.string(),
        "number": pa.float64(),
        "count": pa.int64(),
        "bool": pa.bool_(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            rows = [{name: _cell(name, value, columns) for name, value in orjson.loads(line).items()} for line in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema))
            count += len(rows)
    return count


def _cell(name: str, value: Any, columns: dict[str, str]) -> Any:
    if value is not None and columns[name] == "time":
        return datetime.fromisoformat(value)
    return json.dumps(value, ensure_ascii=False) if name in NESTED and value is not None else value


def read(path: Path) -> Iterator[Numbered]:
    """(line, row) of a file, the first line being 1. Raises InputError that names the line."""
    try:
        yield from _read_parquet(path) if path.suffix == ".parquet" else _read_lines(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_lines(path: Path) -> Iterator[Numbered]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _line(line)


def _line(line: bytes) -> Any:
    """A line as JSON, or the error that says why it is none: one bad line must not hide the next."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return InputError(f"It is not JSON: {error}.")


def _read_parquet(path: Path) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: _nested(name, value) for name, value in row.items()}
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is no Parquet file: {error}.") from error


def _nested(name: str, value: Any) -> Any:
    """The value of a cell that holds JSON; a text that is not JSON stays a text."""
    if name not in NESTED or not isinstance(value, str):
        return value.isoformat() if isinstance(value, datetime) else value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
