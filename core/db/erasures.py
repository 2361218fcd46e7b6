"""Erasures of users: what is theirs, what is erased, and the tombstones that drop what arrives later."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database, Row, Store, Transaction


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A user who was erased, by hash: records from before `time` are dropped. A key of None means every key."""

    user_hash: str
    key_id: str | None
    time: datetime


def add(
    transaction: Transaction,
    *,
    id: str,
    time: datetime,
    user: str,
    user_hash: str,
    key: str | None,
    actor: str,
    comment: str,
) -> None:
    """Add a pending erasure, with the ids of everything that is the user's."""
    transaction.run(
        "erasures.add",
        id=id,
        time=time,
        user_hash=user_hash,
        key=key,
        user=user,
        actor=actor,
        comment=comment,
        receipt="{}",
    )
    transaction.run("erasures.add_interactions", id=id, user=user, key=key)
    transaction.run("erasures.add_feedback", id=id, user=user, key=key)


def counts(db: Database, *, id: str) -> Row:
    """How much an erasure erases, by kind."""
    return db.one("erasures.counts", id=id)


def models_of(db: Database, *, id: str) -> list[str]:
    """Models of an erasure's interactions and feedback."""
    return [row["model"] for row in db.rows("erasures.models_of", id=id)]


def ids(db: Database, *, id: str) -> set[str]:
    """Ids of an erasure's interactions and feedback."""
    return {row["id"] for row in db.rows("erasures.ids", id=id)}


def snapshot_rows(db: Database, *, id: str) -> list[Row]:
    """The rows of an erasure in each snapshot and bucket."""
    return db.rows("erasures.snapshot_rows", id=id)


def of_version(db: Database, *, version: str) -> list[str]:
    """Erasures of users from whom a version, by its public name, learnt, oldest first."""
    return [row["id"] for row in db.rows("erasures.of_version", version=version)]


def versions_of(transaction: Transaction, snapshots: Sequence[str]) -> list[Row]:
    """Versions whose run used one of these snapshots."""
    return transaction.rows_in("erasures.versions_of", snapshots)


def holdouts_of(transaction: Transaction, snapshots: Sequence[str]) -> list[Row]:
    """Holdouts that judged in runs that used one of these snapshots."""
    return transaction.rows_in("erasures.holdouts_of", snapshots)


def snapshots_of(transaction: Transaction, snapshots: Sequence[str]) -> list[Row]:
    """Reports of these snapshots, one per run, with their folders."""
    return transaction.rows_in("erasures.snapshots_of", snapshots)


def runs_of(transaction: Transaction, snapshots: Sequence[str]) -> list[str]:
    """Runs that used one of these snapshots."""
    return [row["id"] for row in transaction.rows_in("erasures.runs_of", snapshots)]


def naming_decisions(db: Database, *, quoted: str, said: str) -> list[int]:
    """Numbers of the ledger's rows that name a user: as a JSON string, or as these words of a reason."""
    return [row["seq"] for row in db.rows("erasures.naming_decisions", quoted=quoted, said=said)]


def pending(db: Database) -> list[Row]:
    """Erasures that are not finished, oldest first."""
    return db.rows("erasures.pending")


def find(db: Database, *, id: str) -> Row | None:
    """One erasure."""
    return db.maybe("erasures.find", id=id)


def newest(db: Database, *, limit: int) -> list[Row]:
    """Erasures, newest first."""
    return db.rows("erasures.newest", limit=limit)


def tombstones(db: Database) -> list[Tombstone]:
    """Whose records from before which time are dropped."""
    return [Tombstone(**row) for row in db.rows("erasures.tombstones")]


def erased(transaction: Transaction, ids: Sequence[str]) -> dict[str, datetime]:
    """Those of these ids that are interactions of an erased user, with the time of the erasure."""
    return {row["id"]: row["time"] for row in transaction.rows_in("erasures.erased", ids)}


def add_late(transaction: Transaction, *, user_hash: str, ids: Sequence[str]) -> None:
    """Record interactions of an erased user that arrive after the erasure, and delete unnamed feedback on them."""
    transaction.run("erasures.add_late_interactions", user_hash=user_hash, ids=list(ids))
    transaction.run_in("erasures.erase_unnamed_feedback", ids)


def erase_rows(transaction: Transaction, *, id: str, time: datetime) -> None:
    """Erase everything that the erasure recorded as the user's, except in snapshots."""
    transaction.run("erasures.erase_stored_completions", id=id, time=time)
    transaction.run("erasures.erase_interactions", id=id)
    transaction.run("erasures.erase_regressions", id=id)
    transaction.run("erasures.erase_fingerprints", id=id)
    transaction.run("erasures.erase_prepared_prompts", id=id)
    transaction.run("erasures.erase_voted_answers", id=id)
    transaction.run("erasures.erase_answers")
    transaction.run("erasures.erase_withheld_examples", id=id)
    transaction.run("erasures.erase_flags_of_withheld_examples", id=id)
    transaction.run("erasures.erase_waiting", id=id)
    transaction.run("erasures.erase_revocations", id=id)
    transaction.run("erasures.erase_quarantine_rows", id=id)
    transaction.run("erasures.erase_history", id=id)
    transaction.run("erasures.erase_feedback", id=id)
    transaction.run("erasures.erase_texts_of_others", id=id)
    transaction.run("erasures.erase_coverage", id=id)


def erase_name(transaction: Transaction, *, user: str, user_hash: str) -> None:
    """Erase a user's name from holdouts, quarantines and what was said before."""
    transaction.run("erasures.erase_history_of", user=user)
    transaction.run("erasures.erase_askers", user=user)
    transaction.run("erasures.erase_held_voters", user=user)
    transaction.run("erasures.erase_subject_revocations", user=user)
    transaction.run("erasures.erase_holdout_users", user=user)
    transaction.run("erasures.erase_predicates", user=user, user_hash=user_hash)


def erase_snapshot_rows(transaction: Transaction, *, id: str, snapshot: str) -> None:
    """Delete the rows of one snapshot that are the user's."""
    transaction.run("erasures.erase_snapshot_rows", id=id, snapshot=snapshot)


def rename_snapshot_rows(transaction: Transaction, *, old: str, new: str, is_known: bool) -> None:
    """Give the rows of a snapshot to the one that replaces it, or delete them if that one is known."""
    if is_known:
        transaction.run("erasures.delete_snapshot_rows", snapshot=old)
    else:
        transaction.run("erasures.rename_snapshot_rows", old=old, new=new)


def replace_snapshot(transaction: Transaction, *, old: str, new: str, path: str, reports: dict[str, str]) -> None:
    """Replace a snapshot, with its report of each run, by the one without the user's rows."""
    for run_id, report in reports.items():
        transaction.run("erasures.replace_snapshot", old=old, new=new, path=path, report=report, run_id=run_id)
    transaction.run("erasures.replace_snapshot_of_runs", old=old, new=new)


def replace_retrieval(transaction: Transaction, *, model: str, version: int, sha256: str) -> None:
    """Replace the hash of a version's content."""
    transaction.run("erasures.replace_retrieval", model=model, version=version, sha256=sha256)


def set_receipt(transaction: Transaction, *, id: str, receipt: str) -> None:
    """Replace the receipt."""
    transaction.run("erasures.set_receipt", id=id, receipt=receipt)


def forget_user(transaction: Transaction, *, id: str) -> None:
    """Forget the name and the feedback: all that remains is to rewrite the store's file."""
    transaction.run("erasures.forget_user", id=id)
    transaction.run("erasures.forget_feedback", id=id)


def finish(store: Store, *, id: str, time: datetime) -> None:
    """Record that an erasure is done."""
    store.run("erasures.finish", id=id, time=time)


def add_backup(db: Database, *, time: datetime, ledger_head: str, size: int) -> None:
    """Record a backup of `size` bytes."""
    db.run("erasures.add_backup", time=time, ledger_head=ledger_head, bytes=size)


def backups_before(db: Database, *, time: datetime) -> list[Row]:
    """Backups from before a time, oldest first."""
    return db.rows("erasures.backups_before", time=time)
