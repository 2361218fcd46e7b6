"""Runs: their state, progress and metrics."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class TrainingTime:
    """Duration of the newest training of a model, in seconds."""

    model: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has ended, with the snapshot and the settings of its model that it began with."""

    id: str
    snapshot: str | None
    settings: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class BegunRun:
    """When a run began and ended; `made` is when its candidate was trained, None if this run made none."""

    id: str
    started: datetime
    finished: datetime | None
    state: str
    candidate: int | None
    made: datetime | None


def add(
    db: Database, *, id: str, model: str, trigger: str, state: str, started: datetime, feedback_until: datetime
) -> None:
    """Add a run."""
    db.run("runs.add", id=id, model=model, trigger=trigger, state=state, started=started, feedback_until=feedback_until)


def set_actor(db: Database, *, actor: str, comment: str, id: str) -> None:
    """Record who started a run, and their comment."""
    db.run("runs.set_actor", actor=actor, comment=comment, id=id)


def set_state(db: Database, *, state: str, reason: str | None, time: datetime, id: str | None) -> None:
    """Set a run's state, and its reason if one is given. A state that ends the run sets its end time."""
    db.run("runs.set_state", state=state, reason=reason, time=time, id=id)


def set_feedback_until(db: Database, *, feedback_until: datetime, id: str) -> None:
    """Record the latest arrival of feedback that a run may use."""
    db.run("runs.set_feedback_until", feedback_until=feedback_until, id=id)


def set_snapshot(db: Database, *, snapshot: str, id: str) -> None:
    """Record the snapshot that a run uses."""
    db.run("runs.set_snapshot", snapshot=snapshot, id=id)


def set_candidate(db: Database, *, candidate: int, id: str) -> None:
    """Record the candidate of a run, which begins its evaluation."""
    db.run("runs.set_candidate", candidate=candidate, id=id)


def set_measured_version(db: Database, *, candidate: int, id: str) -> None:
    """Record the version whose suites a run measures."""
    db.run("runs.set_measured_version", candidate=candidate, id=id)


def set_detail(db: Database, *, detail: str, id: str) -> None:
    """Replace the details that are kept with a run."""
    db.run("runs.set_detail", detail=detail, id=id)


def last_finished(db: Database, *, model: str) -> FinishedRun | None:
    """The newest run of a model that a gate has judged to its end."""
    row = db.maybe("runs.last_finished", model=model)
    return FinishedRun(row["id"], row["snapshot"], json.loads(row["detail"]).get("settings")) if row else None


def unfinished(db: Database) -> list[Row]:
    """Every run that has not ended."""
    return db.rows("runs.unfinished")


def unfinished_of(db: Database, *, model: str) -> Row | None:
    """The run of a model that has not ended."""
    return db.maybe("runs.unfinished_of", model=model)


def waiting_to_switch(db: Database, *, model: str) -> list[Row]:
    """Runs whose candidate passed a gate and does not serve everyone yet, oldest first."""
    return db.rows("runs.waiting_to_switch", model=model)


def find(db: Database, *, id: str) -> Row | None:
    """One run by its id."""
    return db.maybe("runs.find", id=id)


def begun(db: Database, *, runs: Sequence[str]) -> list[BegunRun]:
    """When these runs began and ended, and when their candidate was made."""
    return [BegunRun(**row) for row in db.rows_in("runs.begun", runs)]


def newest(
    db: Database, *, model: str | None, limit: int, before: datetime | None = None, before_id: str = ""
) -> list[Row]:
    """The newest runs, of one model or of all, that began before a moment, or then with a smaller id."""
    return db.rows("runs.newest", model=model, limit=limit, before=before, before_id=before_id)


def add_metric(db: Database, *, run_id: str, time: datetime, phase: str, done: int, total: int, metrics: str) -> None:
    """Add the progress of a run's phase, with its metrics."""
    db.run("runs.add_metric", run_id=run_id, time=time, phase=phase, done=done, total=total, metrics=metrics)


def metrics(db: Database, *, run_id: str) -> list[Row]:
    """Every metric of a run, oldest first. Of each trial of its search, only the first and the last."""
    return db.rows("runs.metrics", run_id=run_id)


def progress(db: Database, *, runs: Sequence[str]) -> list[Row]:
    """The last recorded progress of each of these runs, with its metrics."""
    return [row | {"metrics": json.loads(row["metrics"])} for row in db.rows("runs.progress", runs=runs)]


def training_seconds(db: Database) -> list[TrainingTime]:
    """Duration of the newest training of each model, in seconds, if one of its newest 20 runs trained."""
    return [TrainingTime(**row) for row in db.rows("runs.training_seconds", runs=20)]


def step_seconds(db: Database, *, model: str) -> float | None:
    """The seconds per training step of the newest training of a model, or of another model. None without one."""
    row = db.maybe("runs.step_seconds", model=model)
    return row["seconds"] if row else None


def trainings(db: Database, *, since: datetime) -> list[Row]:
    """Number of trainings of each model since a moment, and their duration in seconds."""
    return db.rows("runs.trainings", since=since)


def newest_feedback_until(db: Database, *, models: Sequence[str]) -> dict[str, datetime]:
    """By model, the latest arrival of feedback that a run of it has used. A model without a run is left out."""
    return {row["model"]: row["until"] for row in db.rows("runs.newest_feedback_until", models=list(models))}


def last_curve_rows(db: Database, *, model: str, method: str) -> int | None:
    """The train rows of a model's newest learning curve by a method, None without one that has a gain."""
    row = db.maybe("runs.last_curve_rows", model=model, method=method)
    return row["rows"] if row else None
