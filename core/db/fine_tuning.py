"""Uploaded files for fine-tuning, and the jobs on them."""

import json
from datetime import datetime
from typing import Any, Literal

from core.db.store import Database, Row


def add_file(
    db: Database, *, id: str, time: datetime, filename: str, bytes: int, model: str | None, actor: str
) -> None:
    """Add an uploaded file."""
    db.run("fine_tuning.add_file", id=id, time=time, filename=filename, bytes=bytes, model=model, actor=actor)


def find_file(db: Database, *, id: str) -> Row | None:
    """One uploaded file."""
    return db.maybe("fine_tuning.find_file", id=id)


def delete_file(db: Database, *, id: str) -> None:
    """Delete an uploaded file."""
    db.run("fine_tuning.delete_file", id=id)


def set_file_bytes(db: Database, *, id: str, bytes: int) -> None:
    """Record the new size of a file."""
    db.run("fine_tuning.set_file_bytes", id=id, bytes=bytes)


def files(db: Database, *, model: str | None, after: str | None, ascending: bool, limit: int) -> list[Row]:
    """One page of uploaded files, by id, which sorts by time."""
    return db.rows("fine_tuning.files", model=model, after=after, ascending=ascending, limit=limit)


def add_job(
    db: Database, *, id: str, time: datetime, model: str, file_id: str, actor: str, request: dict[str, Any]
) -> None:
    """Add a job, whose file is not yet checked."""
    text = json.dumps(request)
    db.run("fine_tuning.add_job", id=id, time=time, model=model, file_id=file_id, actor=actor, request=text)


def find_job(db: Database, *, id: str) -> Row | None:
    """One job."""
    row = db.maybe("fine_tuning.find_job", id=id)
    return _read(row) if row else None


def jobs(db: Database, *, model: str | None, metadata: dict[str, str], after: str | None, limit: int) -> list[Row]:
    """One page of jobs, newest first, of one model or of all, with this metadata."""
    found = db.rows("fine_tuning.jobs", model=model, metadata=json.dumps(metadata), after=after, limit=limit)
    return [_read(row) for row in found]


def pending(db: Database) -> list[Row]:
    """Jobs whose file is not checked, or whose run is not queued, oldest first."""
    return [_read(row) for row in db.rows("fine_tuning.pending")]


def set_checked(db: Database, *, id: str, time: datetime, examples: int) -> None:
    """Record that the file of a job is valid."""
    db.run("fine_tuning.set_checked", id=id, time=time, examples=examples)


def set_run(db: Database, *, id: str, run_id: str) -> None:
    """Record the run of a job."""
    db.run("fine_tuning.set_run", id=id, run_id=run_id)


def end_job(
    db: Database, *, id: str, state: Literal["failed", "cancelled"], time: datetime, error: dict[str, Any] | None = None
) -> None:
    """End a job that has no run."""
    text = None if error is None else json.dumps(error)
    db.run("fine_tuning.end_job", id=id, state=state, error=text, time=time)


def run_of_trigger(db: Database, *, model: str, trigger: str) -> str | None:
    """The id of the run of a model that was started by this trigger."""
    row = db.maybe("fine_tuning.run_of_trigger", model=model, trigger=trigger)
    return row["id"] if row else None


def _read(row: Row) -> Row:
    return row | {"request": json.loads(row["request"]), "error": json.loads(row["error"]) if row["error"] else None}
