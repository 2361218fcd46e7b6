"""Opens the DuckDB file, applies its migrations and runs the SQL blocks of the `.sql` files in this package.

Values are always parameters.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from core.db.file import FORMAT, MEMORY, REWRITTEN, connect
from core.db.migration import delete_copies, migrate
from core.db.statements import statements as _statements
from core.durable_file import sync
from core.errors import NotReady, RowKnown, RowRefused, StoreError

# More ids in one IN list, and DuckDB would scan the table instead of using its index.
IDS_AT_ONCE = 1000
# Up to so many rows, a table goes to DuckDB as parameters.
FEW_ROWS = 2
# Errors that DuckDB raises because of a value. Errors about its file, its memory or itself are of other types.
ABOUT_A_ROW = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.InvalidInputException,
    duckdb.NotSupportedError,
    OverflowError,
)


# Times are stored as naive UTC: DuckDB's zoned type needs its ICU extension, which is a download.
def _naive(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def _stored(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: _naive(value) for name, value in parameters.items()}


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except duckdb.ConstraintException as error:
        raise RowKnown(f"The store has a row of {name} already: {str(error).splitlines()[0]}") from error
    except ABOUT_A_ROW as error:
        raise RowRefused(f"The store refuses a row of {name}: {str(error).splitlines()[0]}") from error


Row = dict[str, Any]


def _rows(cursor: duckdb.DuckDBPyConnection) -> list[Row]:
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, map(_aware, row), strict=True)) for row in cursor.fetchall()]


class Transaction:
    """Runs statements that are committed together or not at all."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path | None = None) -> None:
        self._connection = connection
        self.path = path
        self._after: dict[str, Callable[[], None]] = {}

    def run(self, name: str, **parameters: Any) -> None:
        """Run a named statement."""
        self._execute(name, parameters)

    def run_many(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Run a named statement once per row of parameters. Raises RowRefused if DuckDB cannot store one."""
        if not rows:
            return
        with _refusing(name):
            self._connection.executemany(_statements()[name], [_stored(row) for row in rows])

    def run_set(self, name: str, rows: Sequence[dict[str, Any]]) -> list[Row]:
        """Run a named statement once for all rows and return its rows.

        Each parameter is the list of one column's values, which the statement unnests. This is many times as fast as
        `run_many`. Raises RowRefused if DuckDB cannot store a row.
        """
        if not rows:
            return []
        with _refusing(name):
            return self.rows(name, **{key: [_naive(row[key]) for row in rows] for key in rows[0]})

    def run_table(self, name: str, table: pa.Table) -> None:
        """Run a named statement that reads `table` as `given`. Raises RowKnown or RowRefused.

        This is several times as fast as `run_set`. Times in the table have no zone and are UTC.
        """
        if not table.num_rows:
            return
        if table.num_rows <= FEW_ROWS:
            with _refusing(name):
                self._run_values(name, table)
            return
        self._connection.register("given", table)
        try:
            with _refusing(name):
                self._connection.execute(_statements()[name])
        finally:
            self._connection.unregister("given")

    def _run_values(self, name: str, table: pa.Table) -> None:
        """Run a named statement with rows as parameters: to register a table takes longer than to add a few rows."""
        columns = ", ".join(f'"{column}"' for column in table.column_names)
        row = f"({', '.join('?' * table.num_columns)})"
        given = f"WITH given ({columns}) AS (VALUES {', '.join([row] * table.num_rows)})"
        values = [value for row in zip(*(column.to_pylist() for column in table.columns), strict=True) for value in row]
        self._connection.execute(f"{given}\n{_statements()[name]}", values)

    def query_table(self, name: str, table: pa.Table, **parameters: Any) -> pa.Table:
        """Return the rows of a named query that reads `table` as `given`, as a table."""
        self._connection.register("given", table)
        try:
            return self._execute(name, parameters).to_arrow_table()
        finally:
            self._connection.unregister("given")

    def rows_in(self, name: str, ids: Sequence[str] | Sequence[int], **parameters: Any) -> list[Row]:
        """Return the rows of a named query whose condition is `IN ($ids)`, through the index of that column.

        DuckDB uses its index for a list of single parameters only, so the list is sent in parts.
        """
        found: list[Row] = []
        for first in range(0, len(ids), IDS_AT_ONCE):
            named = {f"id_{place}": id for place, id in enumerate(ids[first : first + IDS_AT_ONCE])}
            sql = _statements()[name].replace("$ids", ", ".join(f"${key}" for key in named))
            found += _rows(self._connection.execute(sql, _stored(parameters) | named))
        return found

    def run_in(self, name: str, ids: Sequence[str], **parameters: Any) -> None:
        """Run a named statement whose condition is `IN ($ids)`, in the same way as `rows_in`."""
        self.rows_in(name, ids, **parameters)

    def rows(self, name: str, **parameters: Any) -> list[Row]:
        """Return the rows of a named query as dictionaries by column name."""
        return _rows(self._execute(name, parameters))

    def maybe(self, name: str, **parameters: Any) -> Row | None:
        """Return the first row of a named query, or None."""
        rows = self.rows(name, **parameters)
        return rows[0] if rows else None

    def one(self, name: str, **parameters: Any) -> Row:
        """Return the row of a named query that always has one, such as a count."""
        return self.rows(name, **parameters)[0]

    def on_commit(self, name: str, action: Callable[[], None]) -> None:
        """Run an action after the commit, before any other transaction. The last one of a name counts."""
        self._after[name] = action

    def committed(self) -> None:
        """Run the actions that waited for the commit."""
        for action in self._after.values():
            action()

    def _execute(self, name: str, parameters: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(_statements()[name], _stored(parameters))


class Store:
    """The DuckDB file. Several threads may use it, but only one process.

    If DuckDB cannot finish a checkpoint, for example because the disk is full, every later query fails until the
    process is restarted. The store calls `fatal` in this case.
    """

    # While `rewrite` waits for readers to end, writers wait for it.
    longest_wait_s = 30.0

    def __init__(self, path: Path | str, *, fatal: Callable[[], None] = lambda: None, copy_first: bool = True) -> None:
        """Open the file and migrate it, an old one after a copy with `copy_first`. Raises StoreError or NotReady."""
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = connect(str(path))
        except duckdb.Error as error:
            raise StoreError(
                f"The store {Path(path).name} cannot be opened: {str(error).splitlines()[0]}",
                hint="If another LoraLoop is running on it, stop that one first.",
            ) from error
        self.path = None if path == ":memory:" else Path(path)
        self._fatal = fatal
        self._writing = threading.RLock()
        # Cursors that are open. The file is replaced while there are none, and a new one waits for the new file.
        self._open = 0
        self._idle = threading.Condition()
        try:
            migrate(self, copy_first=copy_first)
        except BaseException:
            self._connection.close()
            raise

    def rows(self, name: str, **parameters: Any) -> list[Row]:
        """Return the rows of a named query, read from one consistent state."""
        with self._cursor() as cursor:
            return Transaction(cursor).rows(name, **parameters)

    def maybe(self, name: str, **parameters: Any) -> Row | None:
        """Return the first row of a named query, or None."""
        rows = self.rows(name, **parameters)
        return rows[0] if rows else None

    def one(self, name: str, **parameters: Any) -> Row:
        """Return the row of a named query that always has one, such as a count."""
        return self.rows(name, **parameters)[0]

    def rows_in(self, name: str, ids: Sequence[str] | Sequence[int], **parameters: Any) -> list[Row]:
        """Return the rows of a named query whose condition is `IN ($ids)`, through the index of that column."""
        with self._cursor() as cursor:
            return Transaction(cursor).rows_in(name, ids, **parameters)

    def batches(self, name: str, size: int, **parameters: Any) -> Iterator[list[Row]]:
        """Return the rows of a named query in lists of `size` rows, for results that do not fit into memory.

        All rows are from the moment of the call.
        """
        with self._cursor() as cursor:
            cursor.execute(_statements()[name], _stored(parameters))
            columns = [column[0] for column in cursor.description or []]
            while rows := cursor.fetchmany(size):
                yield [dict(zip(columns, map(_aware, row), strict=True)) for row in rows]

    def arrow(
        self, name: str, tables: Mapping[str, pa.Table] | None = None, size: int = 100_000, **parameters: Any
    ) -> pa.RecordBatchReader:
        """Return the rows of a named query as Arrow batches of at most `size` rows.

        The query may read `tables` by their names. All rows are from the moment of the call.
        """
        cursor = self._connection.cursor()
        for given, table in (tables or {}).items():
            cursor.register(given, table)
        return cursor.execute(_statements()[name], _stored(parameters)).to_arrow_reader(size)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a write transaction. Writers wait for each other, so that DuckDB never reports a conflict."""
        with self._writing, self._cursor() as cursor:
            cursor.execute("BEGIN")
            transaction = Transaction(cursor, self.path)
            try:
                yield transaction
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
            transaction.committed()

    def run(self, name: str, **parameters: Any) -> None:
        """Run one named statement in its own transaction."""
        with self.transaction() as transaction:
            transaction.run(name, **parameters)

    def copy_to(self, path: Path) -> None:
        """Write a copy of the whole store as of one moment. Others may read and write during the copy."""
        with self._cursor() as cursor:
            (name,) = cursor.execute("SELECT current_database()").fetchall()[0]
            quoted = str(path).replace("'", "''")
            cursor.execute(f"ATTACH '{quoted}' AS copied (STORAGE_VERSION '{FORMAT}')")
            try:
                cursor.execute(f'COPY FROM DATABASE "{name}" TO copied')
            finally:
                cursor.execute("DETACH copied")

    def rewrite(self) -> None:
        """Replace the file by a copy, so that it has no byte of a value that was deleted. Older copies are deleted.

        DuckDB keeps deleted values in free blocks, also after a checkpoint. Writers wait during the copy, and readers
        only while the files are exchanged. It needs free space of the file's size. The file is whole after a crash.
        Raises NotReady if a read does not end.
        """
        if self.path is None:
            return
        copy = self.path.with_name(f"{self.path.name}{REWRITTEN}")
        with self._writing:
            copy.unlink(missing_ok=True)
            self.copy_to(copy)
            sync(copy)
            with self._idle:
                if not self._idle.wait_for(lambda: self._open == 0, timeout=self.longest_wait_s):
                    copy.unlink()
                    raise NotReady("The store's file cannot be replaced during a long read, such as an export.")
                self._connection.close()
                os.replace(copy, self.path)
                sync(self.path.parent)
                delete_copies(self.path)
                self._connection = connect(str(self.path))

    def close(self) -> None:
        """Write a checkpoint and close the file."""
        self._connection.close()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._idle:
            cursor = self._connection.cursor()
            self._open += 1
        try:
            with cursor:
                yield cursor
        except duckdb.FatalException:
            self._fatal()
            raise
        finally:
            with self._idle:
                self._open -= 1
                self._idle.notify_all()


Database = Store | Transaction


def query_tables(name: str, tables: Mapping[str, pa.Table], **parameters: Any) -> pa.Table:
    """Return the rows of a named query that reads only `tables`, by their names. It needs no store."""
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        for given, table in tables.items():
            connection.register(given, table)
        return connection.execute(_statements()[name], _stored(parameters)).to_arrow_table()
