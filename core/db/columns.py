"""Arrow tables of rows, which DuckDB reads without a loop over values."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from core.errors import RowRefused


def table(schema: pa.Schema, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows as a table of this schema. Raises RowRefused if a value does not fit its column."""
    return table_of_columns(schema, zip(*rows, strict=True) if rows else ([] for _ in schema))


def table_of_columns(schema: pa.Schema, columns: Iterable[Sequence[Any]]) -> pa.Table:
    """Columns, in the order of the schema, as a table. Raises RowRefused if a value does not fit its column."""
    try:
        arrays = [pa.array(values, field.type) for field, values in zip(schema, columns, strict=True)]
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise RowRefused(f"A value does not fit its column: {error}") from error
    return pa.Table.from_arrays(arrays, schema=schema)
