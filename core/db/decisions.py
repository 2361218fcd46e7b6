"""The ledger: decisions in their order."""

from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The newest decision's number and hash."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class MeasuredDecision:
    """A decision that has an evaluation; `body` is its JSON."""

    seq: int
    id: str
    time: datetime
    from_version: int | None
    to_version: int
    verdict: str
    body: str


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
    return db.maybe("decisions.find", id=id)


def of_run(db: Database, *, run_id: str) -> list[Row]:
    """Every decision of a run, oldest first."""
    return db.rows("decisions.of_run", run_id=run_id)


def newest_verdict(db: Database, *, model: str, verdict: str) -> Row | None:
    """The newest decision of a model with this verdict."""
    return db.maybe("decisions.newest_verdict", model=model, verdict=verdict)


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
    return db.rows("decisions.page", before=before, model=model, verdict=verdict, since=since, until=until, limit=limit)


def measured(db: Database, *, model: str, limit: int) -> list[MeasuredDecision]:
    """The newest decisions of a model that hold an evaluation, one per run."""
    return [MeasuredDecision(**row) for row in db.rows("decisions.measured", model=model, limit=limit)]


def with_lineage(db: Database, *, model: str, version: int) -> DecisionBody | None:
    """The newest decision about a version that has its lineage."""
    row = db.maybe("decisions.with_lineage", model=model, version=version)
    return DecisionBody(**row) if row else None
