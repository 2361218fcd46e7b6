"""New stores as copies of one migrated store: to apply all migrations takes longer than most tests.

The store that is copied is made by the migrations themselves, once per process. A file that is there is not touched, so
that tests of migrations apply them.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from core.db import store as store_module
from core.db.file import connect
from core.db.store import Store


@contextmanager
def migrated_stores(folder: Path) -> Iterator[None]:
    """Within this context, a new store begins with the tables that the migrations make. `folder` keeps them."""
    template = folder / "migrated.duckdb"
    Store(template).close()

    def connect_to_copy(path: str) -> duckdb.DuckDBPyConnection:
        if path == ":memory:":
            connection = connect(path)
            # With several threads the copy takes a third longer: each of 54 small tables waits for all of them.
            connection.execute("SET threads = 1")
            connection.execute(f"ATTACH '{template}' AS template (READ_ONLY)")
            connection.execute("COPY FROM DATABASE template TO memory")
            connection.execute("DETACH template")
            connection.execute("RESET threads")
            return connection
        if not Path(path).exists():
            shutil.copyfile(template, path)
        return connect(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "connect", connect_to_copy)
        yield
