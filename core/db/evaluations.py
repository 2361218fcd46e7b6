"""Evaluations: KPIs, uses of holdouts, stored answers and regressions."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row, Transaction


def holdout_uses(db: Database, *, model: str) -> list[Row]:
    """How often each holdout of a model was used."""
    return db.rows("evaluations.holdout_uses", model=model)


def add_holdout_use(db: Database, *, model: str, bucket: str, run_id: str, use: int) -> None:
    """Add a use of a holdout."""
    db.run("evaluations.add_holdout_use", model=model, bucket=bucket, run_id=run_id, use=use)


def holdout_use(db: Database, *, run_id: str) -> Row | None:
    """The use of a holdout by one run."""
    return db.maybe("evaluations.holdout_use", run_id=run_id)


def holdout_users(db: Database, *, model: str) -> list[Row]:
    """Users of every generation of a model's holdouts."""
    return db.rows("evaluations.holdout_users", model=model)


def add_holdout_users(db: Database, *, model: str, holdout: str, users: Sequence[str]) -> None:
    """Add the users of a generation of a holdout."""
    db.run("evaluations.add_holdout_users", model=model, holdout=holdout, users=users)


def add(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Add rows of an evaluation: one KPI of one arm on one suite each."""
    return transaction.run_set("evaluations.add", rows)


def known_answers(db: Database, *, keys: Sequence[str]) -> list[Row]:
    """Stored answers of an evaluation's queries."""
    return db.rows("evaluations.known_answers", keys=keys)


def add_answers(
    db: Database, *, keys: Sequence[str], time: datetime, names: Sequence[str], answers: Sequence[str]
) -> None:
    """Store answers of an evaluation's queries."""
    db.run("evaluations.add_answers", keys=keys, time=time, names=names, answers=answers)


def delete_old_answers(db: Database, *, before: datetime) -> None:
    """Delete stored answers that were stored before a moment."""
    db.run("evaluations.delete_old_answers", before=before)


def of_run(db: Database, *, run_id: str) -> list[Row]:
    """Every evaluation row of a run."""
    return db.rows("evaluations.of_run", run_id=run_id)


def add_regression(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add the items on which a candidate did worst."""
    transaction.run_many("evaluations.add_regression", rows)


def regressions(db: Database, *, run_id: str) -> list[Row]:
    """The items on which a run's candidate did worst, with their prompts."""
    return db.rows("evaluations.regressions", run_id=run_id)
