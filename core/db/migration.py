"""Bring the schema of a store up to date, after a copy of the store as it was.

The copy is the way back to the release before: an older LoraLoop refuses a newer store.
"""

import logging
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from core.db.statements import migrations
from core.durable_file import sync
from core.errors import NotReady, StoreNewer
from core.logs import fields

log = logging.getLogger(__name__)
# The folder of the copy, next to the store.
FOLDER = "before-migration"


class Migrated(Protocol):
    """What a migration needs of a store."""

    path: Path | None

    def transaction(self) -> AbstractContextManager[Any]: ...

    def copy_to(self, path: Path) -> None: ...


def migrate(store: Migrated, *, copy_first: bool) -> None:
    """Apply every migration that the store lacks; with `copy_first`, keep a copy of a store that has a schema.

    Raises StoreNewer for a store of a later release, and NotReady if the disk has no space for the copy.
    """
    with store.transaction() as transaction:
        connection = transaction._connection
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        applied = {version for (version,) in connection.execute("SELECT version FROM schema_version").fetchall()}
    current, known = max(applied, default=0), migrations()
    newest = known[-1][0]
    if current > newest:
        raise StoreNewer(
            f"The store has schema {current}, but this LoraLoop supports schemas up to {newest}.",
            hint=f"Upgrade LoraLoop, or go back with the copy in {FOLDER}/ or a backup from before the upgrade.",
        )
    pending = [(number, sql) for number, sql in known if number not in applied]
    if pending and applied and copy_first and store.path is not None:
        _keep_copy(store, store.path, current)
    # One transaction per migration: DuckDB cannot alter a table that the same transaction has written to.
    for number, sql in pending:
        with store.transaction() as transaction:
            transaction._connection.execute(sql)
            transaction._connection.execute("INSERT INTO schema_version VALUES ($n)", {"n": number})


def copies(path: Path) -> list[Path]:
    """The copies of a store from before its migrations; there is one at most after a whole migration."""
    return sorted((path.parent / FOLDER).glob(f"{path.stem}-schema-*{path.suffix}*"))


def delete_copies(path: Path) -> None:
    """Delete the copies of a store, for example because they have what was erased in it."""
    for copy in copies(path):
        copy.unlink(missing_ok=True)


def _keep_copy(store: Migrated, path: Path, schema: int) -> None:
    """Write the copy instead of the one before. A crash leaves no half copy under its name."""
    wanted, free = path.stat().st_size, shutil.disk_usage(path.parent).free
    if free < wanted:
        raise NotReady(
            f"The store is copied before its migration. The copy needs {wanted / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            "are free.",
            hint=f"Free space on the disk of {path.parent}. Or make a backup with the release before, and start once "
            "with LORALOOP_CONTROL__COPY_BEFORE_MIGRATION=false.",
        )
    copy = path.parent / FOLDER / f"{path.stem}-schema-{schema}{path.suffix}"
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    scratch = copy.with_name(f"{copy.name}.part")
    scratch.unlink(missing_ok=True)
    store.copy_to(scratch)
    sync(scratch)
    delete = [old for old in copies(path) if old not in (scratch, copy)]
    os.replace(scratch, copy)
    sync(copy.parent)
    for old in delete:
        old.unlink()
    log.info("the store is copied before its migration", extra=fields(schema=schema, copy=str(copy), bytes=wanted))
