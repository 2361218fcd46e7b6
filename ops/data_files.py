"""Tables on disk: rows as JSONL or Parquet, by a file's ending, read and written a batch at a time.

It owns both formats; it must not know what a row means. Where Parquet has no type for nested JSON, it holds its text.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

import orjson

from core.errors import InputError

ENDINGS = (".jsonl", ".parquet")
READABLE = (".jsonl", ".ndjson", ".json", ".parquet")
# The largest file that is one JSON array: it is in memory as a whole.
LARGEST_ARRAY = 512 * 1024 * 1024
# How a file begins that is not plain UTF-8, and its encoding. UTF-32's beginning begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# The header of a file that leaves out labels which its reader can still give: the names of their models.
LEFT_OUT = "X-LoraLoop-Labels-Left-Out"
# Columns that hold JSON.
NESTED = ("value", "metadata", "request", "choices")
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
        "choice": "count",
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
        "choices": "text",
        "finish_reason": "text",
        "status": "count",
        "latency_ms": "number",
        "ttft_ms": "number",
        "prompt_tokens": "count",
        "completion_tokens": "count",
        "streamed": "bool",
        "asked": "bool",
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


def require_ending(path: Path, endings: tuple[str, ...] = ENDINGS) -> None:
    """Raises InputError for a file whose ending names no format."""
    if path.suffix not in endings:
        raise InputError(f"{path}: its ending names no format.", hint=f"Call it {' or '.join(endings)}.")


def write(file: IO[bytes], batches: Iterable[list[bytes]], columns: dict[str, str], *, as_parquet: bool) -> int:
    """Writes lines of JSON and returns how many; `columns` names Parquet's columns with their types."""
    return _write_parquet(file, batches, columns) if as_parquet else _write_lines(file, batches)


def _write_lines(file: IO[bytes], batches: Iterable[list[bytes]]) -> int:
    count = 0
    for batch in batches:
        file.writelines(line + b"\n" for line in batch)
        count += len(batch)
    return count


def _write_parquet(file: IO[bytes], batches: Iterable[list[bytes]], columns: dict[str, str]) -> int:
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
    with pq.ParquetWriter(file, schema) as writer:
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
    """(line, row) of a file, the first line being 1. Raises InputError that names the line.

    A file may be one JSON array instead of lines. The number is then that of the element. A line that cannot be read
    is an InputError instead of its row.
    """
    try:
        yield from _read_parquet(path) if path.suffix == ".parquet" else _read_json(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_json(path: Path) -> Iterator[Numbered]:
    with path.open("rb") as file:
        start = file.read(4096)
        encoding = next((encoding for mark, encoding in MARKS if start.startswith(mark)), None)
        if encoding is None and b"\0" in start:
            raise InputError(
                f"{path} is not UTF-8: it has NUL bytes.",
                hint=f"Do: iconv -f UTF-16LE -t UTF-8 {path.name} > new.jsonl",
            )
    array = _whole_array(path, encoding)
    if array is not None:
        yield from enumerate(array, 1)
        return
    for number, line in enumerate(_lines(path, encoding), 1):
        if line.strip():
            yield number, _line(line)


def _lines(path: Path, encoding: str | None) -> Iterator[bytes]:
    if encoding is None:
        with path.open("rb") as file:
            yield from file
        return
    try:
        with path.open(encoding=encoding, newline="\n") as file:
            for line in file:
                yield line.encode()
    except UnicodeError as error:
        raise InputError(f"{path} is not {encoding.upper()}, as its first bytes say: {error}.") from error


def _whole_array(path: Path, encoding: str | None) -> list[Any] | None:
    """The elements of a file that is one JSON value, None if it has lines of JSON."""
    first = next((line.strip() for line in _lines(path, encoding) if line.strip()), b"")
    if path.suffix != ".json" and not first.startswith(b"["):
        return None
    if path.stat().st_size > LARGEST_ARRAY:
        raise InputError(
            f"{path} is one array of more than {LARGEST_ARRAY // 2**20} MB.",
            hint=f"Make lines of it: jq -c '.[]' {path.name} > new.jsonl",
        )
    try:
        found = orjson.loads(b"".join(_lines(path, encoding)))
    except orjson.JSONDecodeError:
        return None  # its lines say where it is wrong
    return found if isinstance(found, list) else [found]


def _line(line: bytes) -> Any:
    """A line as JSON, or the error that says why it is none: one bad line must not hide the next."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return InputError(f"It is not JSON: {error}.", hint="Write each row as one JSON object on a line of its own.")


def _read_parquet(path: Path) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(BATCH):
                for row in _rows(batch):
                    number += 1
                    yield number, row if isinstance(row, InputError) else _plain(row)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} is no Parquet file: {error}.") from error


def _rows(batch: Any) -> Iterator[Any]:
    """The rows of a batch; one with a time that Python has no word for is an InputError that names the column."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        yield from _readable(batch)
    else:
        yield from rows


def _readable(batch: Any) -> Iterator[Any]:
    for place in range(batch.num_rows):
        row: dict[str, Any] = {}
        wrong: InputError | None = None
        for name in batch.schema.names:
            try:
                row[name] = batch.column(name)[place].as_py()
            except (ValueError, OverflowError) as error:
                wrong = InputError(f"{name}: cannot be read: {error}.", hint="Write a time from year 1 to 9999.")
        yield wrong or row


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _nested(name, value) for name, value in row.items()}


def _nested(name: str, value: Any) -> Any:
    """The value of a cell that holds JSON; a text that is not JSON stays a text."""
    if name not in NESTED or not isinstance(value, str):
        return value.isoformat() if isinstance(value, datetime) else value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
