"""Evaluations: KPIs, uses of holdouts, stored answers and regressions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from core.db.columns import table
from core.db.rows import utc
from core.db.store import Database, Row, Store, Transaction
from core.records import Endpoint

ANSWERS = pa.schema(
    [("key", pa.string()), ("time", pa.timestamp("us")), ("engine_name", pa.string()), ("answer", pa.string())]
)


@dataclass(frozen=True, slots=True)
class HoldoutUses:
    """How often a holdout was used."""

    bucket: str
    uses: int


@dataclass(frozen=True, slots=True)
class HoldoutUse:
    """The holdout that a run used, and the number of this use."""

    bucket: str
    use: int


@dataclass(frozen=True, slots=True)
class HoldoutUser:
    """A user in a generation of a holdout."""

    holdout: str
    user: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer of an engine or a judge, with the hash of its query."""

    key: str
    answer: str


@dataclass(frozen=True, slots=True)
class Regression:
    """An item on which a candidate did worse than the champion; `request` and `correction` are JSON."""

    place: int
    interaction_id: str
    kpi: str
    wanted: str | None
    champion: str
    candidate: str
    loss: float
    endpoint: Endpoint
    request: str | None
    correction: str | None


def holdout_uses(db: Database, *, model: str) -> list[HoldoutUses]:
    """How often each holdout of a model was used."""
    return [HoldoutUses(**row) for row in db.rows("evaluations.holdout_uses", model=model)]


def add_holdout_use(db: Database, *, model: str, bucket: str, run_id: str, use: int) -> None:
    """Add a use of a holdout."""
    db.run("evaluations.add_holdout_use", model=model, bucket=bucket, run_id=run_id, use=use)


def holdout_use(db: Database, *, run_id: str) -> HoldoutUse | None:
    """The use of a holdout by one run."""
    row = db.maybe("evaluations.holdout_use", run_id=run_id)
    return HoldoutUse(**row) if row else None


def holdout_users(db: Database, *, model: str) -> list[HoldoutUser]:
    """Users of every generation of a model's holdouts."""
    return [HoldoutUser(**row) for row in db.rows("evaluations.holdout_users", model=model)]


def add_holdout_users(db: Database, *, model: str, holdout: str, users: Collection[str]) -> None:
    """Add the users of a generation of a holdout."""
    db.run("evaluations.add_holdout_users", model=model, holdout=holdout, users=sorted(users))


def add(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add rows of an evaluation: one KPI of one arm on one suite each."""
    transaction.run_set("evaluations.add", rows)


def known_answers(db: Database, *, keys: Sequence[str]) -> list[StoredAnswer]:
    """Stored answers of an evaluation's queries."""
    return [StoredAnswer(**row) for row in db.rows_in("evaluations.known_answers", keys)]


def add_answers(
    store: Store, *, keys: Sequence[str], time: datetime, names: Sequence[str], answers: Sequence[str]
) -> None:
    """Store answers of an evaluation's queries. Two runs may send the same one at the same time: the first is kept."""
    with store.transaction() as transaction:
        known = {one.key for one in known_answers(transaction, keys=keys)}
        new: dict[str, tuple[str, datetime, str, str]] = {}
        for key, name, answer in zip(keys, names, answers, strict=True):
            if key not in known:
                new.setdefault(key, (key, utc(time), name, answer))
        transaction.run_table("evaluations.add_answers", table(ANSWERS, list(new.values())))


def of_run(db: Database, *, run_id: str) -> list[Row]:
    """Every evaluation row of a run."""
    return db.rows("evaluations.of_run", run_id=run_id)


def add_regression(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add the items on which a candidate did worst."""
    transaction.run_many("evaluations.add_regression", rows)


def regressions(db: Database, *, run_id: str) -> list[Regression]:
    """The items on which a run's candidate did worst, with their prompts."""
    return [Regression(**row) for row in db.rows("evaluations.regressions", run_id=run_id)]
