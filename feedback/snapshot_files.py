"""Write and read the files of a snapshot's folder, which is named by the hash of their content.

A snapshot without pairs has the hash of its rows alone.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.durable_file import sync
from core.errors import IntegrityFailed

ROWS = "rows.parquet"
PAIRS = "pairs.parquet"
REPORT = "report.json"
# The key of the model's name in the metadata of a snapshot's file.
MODEL = b"loraloop.model"


@dataclass(frozen=True, slots=True)
class Tables:
    """The rows of a snapshot, and its pairs if there are any."""

    rows: pa.Table
    pairs: pa.Table | None = None

    def content_hash(self) -> str:
        """The SHA-256 of the model and of every value of the rows in their order, and of the pairs."""
        name = content_hash(self.rows)
        if not self.pairs:
            return name
        return hashlib.sha256(f"{name}\n{content_hash(self.pairs)}".encode()).hexdigest()


def with_model(table: pa.Table, model: str, schema: pa.Schema) -> pa.Table:
    """The columns of a schema, and the model's name in the metadata."""
    return table.select(schema.names).cast(schema).replace_schema_metadata({MODEL: model.encode()})


def content_hash(table: pa.Table) -> str:
    """The SHA-256 of a table's model and of every value in order."""
    metadata = table.schema.metadata or {}
    if MODEL not in metadata:
        return _hash_before(table)
    digest = hashlib.sha256(metadata[MODEL] + b"\n")
    for name in table.column_names:
        values = _encoded(table[name])
        lengths = pc.binary_length(values).to_pylist()  # type: ignore[attr-defined]
        digest.update(f"{name} {lengths}\n".encode())
        # The bytes of all values, one after another, without an object for each.
        offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
        data = values.buffers()[2]
        digest.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])] if len(values) and data else b"")
    return digest.hexdigest()


def _encoded(column: pa.ChunkedArray) -> pa.Array:
    """The text of each value, as Python writes it."""
    if not pa.types.is_string(column.type):
        return pa.array([str(value) for value in column.to_pylist()], pa.large_string())
    return pa.chunked_array(column.cast(pa.large_string()).fill_null("None")).combine_chunks()


def _hash_before(table: pa.Table) -> str:
    """The hash of a snapshot that has no model in its file, from before rows had a time."""
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def write_files(tables: Tables, report: dict[str, Any], target: Path) -> None:
    """Write a snapshot's folder. It is complete after a power cut, or not there."""
    scratch = target.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    written = [scratch / ROWS, scratch / REPORT]
    pq.write_table(tables.rows, scratch / ROWS)
    if tables.pairs:
        pq.write_table(tables.pairs, scratch / PAIRS)
        written.append(scratch / PAIRS)
    (scratch / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
    for path in (*written, scratch):
        sync(path)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(scratch, target)
    sync(target.parent)


def read_unchecked(path: Path) -> Tables | None:
    """The tables of a snapshot's folder without a check of its hash, None if it is gone."""
    if not (path / ROWS).is_file():
        return None
    pairs = path / PAIRS
    return Tables(pq.read_table(path / ROWS), pq.read_table(pairs) if pairs.is_file() else None)


def read_tables(path: Path) -> Tables:
    """The tables of a snapshot's folder, which is named by their hash. Raises IntegrityFailed."""
    try:
        tables = read_unchecked(path)
    except (OSError, pa.ArrowException) as error:
        raise IntegrityFailed(f"The snapshot {path.name[:12]} cannot be read.", hint="Start a new run.") from error
    if tables is None:
        raise IntegrityFailed(f"The snapshot {path.name[:12]} is not on disk any more.", hint="Start a new run.")
    if tables.content_hash() != path.name:
        raise IntegrityFailed(
            f"The rows of the snapshot {path.name[:12]} do not have its hash.",
            hint="Restore its folder from a backup, or start a new run.",
        )
    return tables
