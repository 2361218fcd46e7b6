"""Count the rows or pairs of a snapshot for its report: how many there are, and of how many users."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def count_values(column: pa.ChunkedArray) -> Counter[Any]:
    """How often each value occurs."""
    return Counter({row["values"]: row["counts"] for row in column.value_counts().to_pylist()})


def count_rows(table: pa.Table, column: str) -> dict[str, int]:
    """The number of rows by the value of a column."""
    return in_order(count_values(table[column]))


def count_users(table: pa.Table, column: str) -> dict[str, int]:
    """The number of users by the value of a column. The user "" is nobody."""
    known = table.filter(pc.field("user") != "").select([column, "user"])
    return in_order(count_values(known.group_by([column, "user"]).aggregate([])[column]))


def count_both(table: pa.Table, column: str) -> dict[str, dict[str, int]]:
    """Rows and users by the value of a column."""
    users = count_users(table, column)
    return {value: {"rows": n, "users": users.get(value, 0)} for value, n in count_rows(table, column).items()}


def in_order(counts: Counter[str]) -> dict[str, int]:
    """Counts in the order of their names."""
    return dict(sorted(counts.items()))
