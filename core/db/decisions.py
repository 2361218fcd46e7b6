"""The ledger: decisions in their order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import msgspec

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The newest decision's number and hash."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class MeasuredDecision:
    """A decision that has an evaluation; `body` is what its JSON says."""

    seq: int
    id: str
    time: datetime
    from_version: int | None
    to_version: int
    verdict: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunDecision:
    """A decision of a run without its body."""

    seq: int
    id: str
    time: datetime
    model: str
    from_version: int | None
    to_version: int | None
    verdict: str
    run_id: str


@dataclass(frozen=True, slots=True)
class VerdictCount:
    """Number of decisions of a model with one verdict."""

    model: str
    verdict: str
    n: int


@dataclass(frozen=True, slots=True)
class DecisionBody:
    """The id of a decision and its JSON."""

    id: str
    body: str


def head(db: Database) -> LedgerHead | None:
    """The newest decision's number and hash."""
    row = db.maybe("decisions.head")
    return LedgerHead(**row) if row else None


def hash_at(db: Database, *, seq: int) -> str | None:
    """The hash of one decision by its number, or None if there is none."""
    row = db.maybe("decisions.hash_at", seq=seq)
    return row["hash"] if row else None


def append(
    db: Database,
    *,
    id: str,
    time: datetime,
    model: str,
    from_version: int | None,
    to_version: int | None,
    verdict: str,
    reason: str,
    run_id: str | None,
    body: str,
    previous_hash: str,
    hash: str,
) -> None:
    """Append a decision."""
    db.run(
        "decisions.append",
        id=id,
        time=time,
        model=model,
        from_version=from_version,
        to_version=to_version,
        verdict=verdict,
        reason=reason,
        run_id=run_id,
        body=body,
        previous_hash=previous_hash,
        hash=hash,
    )


def chain(db: Database) -> list[Row]:
    """The whole ledger with its hashes, oldest first."""
    return db.rows("decisions.chain")


def after(db: Database, *, seq: int, limit: int) -> list[Row]:
    """Decisions after a number, oldest first, up to a limit."""
    return db.rows("decisions.after", seq=seq, limit=limit)


def find(db: Database, *, id: str) -> Row | None:
    """One decision by its id or number."""
    rows = _whole(db, db.rows("decisions.find", id=id))
    return rows[0] if rows else None


def of_run(db: Database, *, run_id: str) -> list[Row]:
    """Every decision of a run, oldest first."""
    return db.rows("decisions.of_run", run_id=run_id)


def of_runs(db: Database, *, runs: Sequence[str]) -> list[RunDecision]:
    """The decisions of these runs without their bodies, oldest first."""
    rows = [RunDecision(**row) for row in db.rows_in("decisions.of_runs", runs)]
    return sorted(rows, key=lambda row: row.seq)


def by_numbers(db: Database, *, numbers: Sequence[int]) -> list[Row]:
    """Decisions with their bodies by their numbers, newest first."""
    return sorted(db.rows_in("decisions.by_numbers", numbers), key=lambda row: -row["seq"])


def has_reason(db: Database, *, model: str, verdict: str, reason: str) -> Row | None:
    """A decision of a model with this verdict and reason, if there is one."""
    return db.maybe("decisions.has_reason", model=model, verdict=verdict, reason=reason)


def open_approvals(db: Database) -> list[Row]:
    """Runs that wait for approval, with the newest decision that asked for it."""
    return db.rows("decisions.open_approvals")


def count_by_verdict(db: Database) -> list[VerdictCount]:
    """Number of decisions by model and verdict."""
    return [VerdictCount(**row) for row in db.rows("decisions.count_by_verdict")]


def page(
    db: Database,
    *,
    before: int,
    model: str | None,
    verdict: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> list[Row]:
    """One page of decisions, newest first, by model, verdict and time."""
    wanted = {"model": model, "verdict": verdict, "since": since, "until": until}
    return _whole(db, db.rows("decisions.page", before=before, limit=limit, **wanted))


def measured(db: Database, *, models: Sequence[str], limit: int) -> dict[str, list[MeasuredDecision]]:
    """By model, the decisions of its newest runs that hold an evaluation, one per run, newest first.

    A rollback after a holdback holds none. Its run has an older decision that does.
    """
    newest: dict[str, Row] = {}
    for row in _whole(db, db.rows("decisions.of_newest_runs", models=list(models), limit=limit)):
        if row["run_id"] not in newest:
            body = msgspec.json.decode(row["body"])
            if body["evidence"].get("primary") is not None:
                newest[row["run_id"]] = row | {"body": body}
    names = [field.name for field in fields(MeasuredDecision)]
    found: dict[str, list[MeasuredDecision]] = {model: [] for model in models}
    for row in newest.values():
        found[row["model"]].append(MeasuredDecision(**{name: row[name] for name in names}))
    return found


def with_lineage(db: Database, *, model: str, version: int) -> DecisionBody | None:
    """The newest decision about a version that has its lineage. Many decisions have only its number."""
    rows = _whole(db, db.rows("decisions.of_version", model=model, version=version))
    found = (row for row in rows if json.loads(row["body"])["lineage"].get("snapshot") is not None)
    return next((DecisionBody(row["id"], row["body"]) for row in found), None)


def _whole(db: Database, numbers: list[Row]) -> list[Row]:
    """The decisions that a query found by number. With bodies, it would read those of all decisions."""
    return by_numbers(db, numbers=[row["seq"] for row in numbers])
