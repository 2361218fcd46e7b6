"""Versions of models."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row


def add(
    db: Database,
    *,
    model: str,
    version: int,
    engine_name: str,
    path: str | None,
    sha256: str | None,
    rank: int,
    run_id: str | None,
    time: datetime,
    kind: str,
) -> None:
    """Add a version."""
    db.run(
        "versions.add",
        model=model,
        version=version,
        engine_name=engine_name,
        path=path,
        sha256=sha256,
        rank=rank,
        run_id=run_id,
        time=time,
        kind=kind,
    )


def find(db: Database, *, model: str, version: int) -> Row | None:
    """One version by its model and number."""
    return db.maybe("versions.find", model=model, version=version)


def made(db: Database, *, model: str, version: int) -> Row | None:
    """When one version was made, and what it is."""
    return db.maybe("versions.made", model=model, version=version)


def next_number(db: Database, *, model: str) -> Row:
    """The next free version number of a model."""
    return db.one("versions.next_number", model=model)


def of_model(db: Database, *, model: str) -> list[Row]:
    """Every version of a model, oldest first."""
    return db.rows("versions.of_model", model=model)


def taken_back(db: Database, *, model: str, version: int | None = None) -> dict[int, Row]:
    """By version, the number of votes that it learnt from which are `revoked` or `in_quarantine` now.

    A version without any is left out. Only one version is counted if it is named.
    """
    return {row["version"]: row for row in db.rows("versions.taken_back", model=model, version=version)}


def retrieval_folder(db: Database, *, sha256: str) -> str | None:
    """The folder of a retrieval version by its content hash."""
    row = db.maybe("versions.retrieval_folder", sha256=sha256)
    return row["path"] if row else None


def to_load(db: Database, *, models: Sequence[str]) -> list[Row]:
    """Versions of these models that engines must hold."""
    return db.rows("versions.to_load", models=models)


def by_engine_name(db: Database, *, engine_name: str) -> Row | None:
    """The version that an engine name belongs to."""
    return db.maybe("versions.by_engine_name", engine_name=engine_name)


def folders(db: Database) -> list[str]:
    """The folder of every version that has one."""
    return [row["path"] for row in db.rows("versions.folders")]


def move_folders(db: Database, *, folder: str) -> None:
    """Set the parent folder of all versions, after a restore."""
    db.run("versions.move_folders", folder=folder)
