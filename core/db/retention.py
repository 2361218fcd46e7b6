"""Deletion by age: what of each kind is older than a time, the pieces in which it is deleted, and the log of it."""

from dataclasses import asdict, dataclass
from datetime import datetime

from core.db.store import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a kind: all, and those that are older than a time. `since` is the time of the oldest of these.

    `mean_bytes` is from 2,000 rows at most, because reading all texts would take minutes.
    """

    rows: int
    old_rows: int
    since: datetime | None
    mean_bytes: float | None

    @property
    def bytes(self) -> int:
        """About how many bytes all rows have."""
        return round(self.rows * (self.mean_bytes or 0))

    @property
    def old_bytes(self) -> int:
        """About how many bytes the older rows have."""
        return round(self.old_rows * (self.mean_bytes or 0))


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that are deleted in one transaction: from `since` to `until`, both included, and from before `before`."""

    since: datetime
    until: datetime
    before: datetime
    now: datetime


def find_texts(db: Database, before: datetime) -> Found:
    """How much there is of prompts and answers."""
    return Found(**db.one("retention.texts_found", before=before))


def find_unrated_texts(db: Database, before: datetime) -> Found:
    """How much there is of texts and users of interactions without feedback."""
    return Found(**db.one("retention.unrated_texts_found", before=before))


def find_stored_completions(db: Database, before: datetime) -> Found:
    """How much there is of stored completions."""
    return Found(**db.one("retention.stored_completions_found", before=before))


def find_votes(db: Database, before: datetime) -> Found:
    """How much there is of feedback."""
    return Found(**db.one("retention.votes_found", before=before))


def find_waiting(db: Database, before: datetime) -> Found:
    """How much there is of feedback and revocations that wait, and old positions in segments."""
    return Found(**db.one("retention.waiting_found", before=before))


def find_answers(db: Database, before: datetime) -> Found:
    """How much there is of cached answers of evaluations."""
    return Found(**db.one("retention.answers_found", before=before))


def find_dead_letters(db: Database, before: datetime) -> Found:
    """How much there is of dead letters."""
    return Found(**db.one("retention.dead_letters_found", before=before))


def find_regressions(db: Database, before: datetime) -> Found:
    """How much there is of examples of finished runs."""
    return Found(**db.one("retention.regressions_found", before=before))


def find_progress(db: Database, before: datetime) -> Found:
    """How much there is of progress of finished runs and interim analyses of canaries."""
    return Found(**db.one("retention.progress_found", before=before))


def find_audit_log(db: Database, before: datetime) -> Found:
    """How much there is of the audit log."""
    return Found(**db.one("retention.audit_log_found", before=before))


def end_of_interactions(db: Database, since: datetime, before: datetime, limit: int) -> datetime | None:
    """Where a piece of interactions ends, None if there is no more."""
    return db.one("retention.texts_until", since=since, before=before, limit=limit)["until"]


def end_of_stored_completions(db: Database, since: datetime, before: datetime, limit: int) -> datetime | None:
    """Where a piece of stored completions ends, None if there is no more."""
    return db.one("retention.stored_completions_until", since=since, before=before, limit=limit)["until"]


def end_of_feedback(db: Database, since: datetime, before: datetime, limit: int) -> datetime | None:
    """Where a piece of feedback ends, None if there is no more."""
    return db.one("retention.votes_until", since=since, before=before, limit=limit)["until"]


def end_of_answers(db: Database, since: datetime, before: datetime, limit: int) -> datetime | None:
    """Where a piece of cached answers ends, None if there is no more."""
    return db.one("retention.answers_until", since=since, before=before, limit=limit)["until"]


def end_of_dead_letters(db: Database, since: datetime, before: datetime, limit: int) -> datetime | None:
    """Where a piece of dead letters ends, None if there is no more."""
    return db.one("retention.dead_letters_until", since=since, before=before, limit=limit)["until"]


def end_of_runs(db: Database, since: datetime, before: datetime, limit: int) -> datetime | None:
    """Where a piece of finished runs ends, None if there is no more."""
    return db.one("retention.runs_until", since=since, before=before, limit=limit)["until"]


def end_of_audit_log(db: Database, since: datetime, before: datetime, limit: int) -> datetime | None:
    """Where a piece of the audit log ends, None if there is no more."""
    return db.one("retention.audit_log_until", since=since, before=before, limit=limit)["until"]


def delete_texts(transaction: Transaction, piece: Piece) -> int:
    """Delete prompts and answers of a piece with what was made of them. Returns the number of interactions."""
    count = transaction.one("retention.texts_delete", **asdict(piece))
    _delete_made(transaction, piece, count)
    return count["Count"]


def delete_unrated_texts(transaction: Transaction, piece: Piece) -> int:
    """Delete texts and users of a piece's interactions that nobody gave feedback on. Returns their number."""
    count = transaction.one("retention.unrated_texts_delete", **asdict(piece))
    _delete_made(transaction, piece, count)
    return count["Count"]


def _delete_made(transaction: Transaction, piece: Piece, count: Row) -> None:
    """Delete what was made of the texts that were deleted: signatures, prepared prompts and voted answers."""
    if count["Count"]:
        limits = {"since": piece.since, "until": piece.until, "now": piece.now}
        transaction.run("retention.delete_fingerprints", **limits)
        transaction.run("retention.delete_prepared_prompts", **limits)
        transaction.run("retention.delete_voted_answers", **limits)


def delete_stored_completions(transaction: Transaction, piece: Piece) -> int:
    """Delete the stored completions of a piece with their prompts. Returns their number."""
    count = transaction.one("retention.stored_completions_delete", **asdict(piece))
    limits = {"since": piece.since, "until": piece.until, "now": piece.now}
    transaction.run("retention.stored_texts_delete", **limits)
    transaction.run("retention.delete_stored_prepared_prompts", **limits)
    transaction.run("retention.delete_stored_voted_answers", **limits)
    return count["Count"]


def delete_votes(transaction: Transaction, piece: Piece) -> int:
    """Count the feedback of a piece by day, and delete it with all that belongs to it. Returns its number."""
    limits = {"since": piece.since, "until": piece.until, "before": piece.before}
    transaction.run("retention.votes_count", **limits)
    transaction.run("retention.votes_history_delete", **limits)
    transaction.run("retention.votes_revocations_delete", **limits)
    transaction.run("retention.votes_quarantine_delete", **limits)
    transaction.run("retention.waiting_delete", **limits)
    return transaction.one("retention.votes_delete", **limits)["Count"]


def delete_waiting(transaction: Transaction, piece: Piece) -> int:
    """Let the feedback and the revocations of a piece wait no more. Returns how many rows are deleted."""
    limits = {"since": piece.since, "until": piece.until, "before": piece.before}
    feedback = transaction.one("retention.waiting_delete", **limits)["Count"]
    revocations = transaction.one("retention.revocations_delete", **limits)["Count"]
    revocations += transaction.one("retention.subject_revocations_delete", **limits)["Count"]
    return feedback + revocations + transaction.one("retention.offsets_delete", **limits)["Count"]


def delete_answers(transaction: Transaction, piece: Piece) -> int:
    """Delete the cached answers of a piece. Returns their number."""
    limits = {"since": piece.since, "until": piece.until, "before": piece.before}
    return transaction.one("retention.answers_delete", **limits)["Count"]


def delete_dead_letters(transaction: Transaction, piece: Piece) -> int:
    """Delete the dead letters of a piece. Returns their number."""
    limits = {"since": piece.since, "until": piece.until, "before": piece.before}
    return transaction.one("retention.dead_letters_delete", **limits)["Count"]


def delete_regressions(transaction: Transaction, piece: Piece) -> int:
    """Delete the examples of a piece's runs. Returns their number."""
    limits = {"since": piece.since, "until": piece.until, "before": piece.before}
    return transaction.one("retention.regressions_delete", **limits)["Count"]


def delete_progress(transaction: Transaction, piece: Piece) -> int:
    """Delete the progress of a piece's runs, and their interim analyses. Returns the number of rows."""
    limits = {"since": piece.since, "until": piece.until, "before": piece.before}
    metrics = transaction.one("retention.progress_delete", **limits)["Count"]
    return metrics + transaction.one("retention.looks_delete", **limits)["Count"]


def delete_holdout_users(db: Database) -> None:
    """Delete users of holdouts of whom nothing is stored any more."""
    db.run("retention.delete_holdout_users")


def live_since(db: Database) -> datetime | None:
    """When the oldest open canary or holdback began, None if there is none."""
    return db.one("retention.live_since")["time"]


def snapshots(db: Database) -> list[Row]:
    """Every snapshot, with what needs it, oldest first."""
    return db.rows("retention.snapshots")


def delete_snapshot_rows(db: Database, *, snapshot: str) -> None:
    """Delete the rows of one snapshot."""
    db.run("retention.delete_snapshot_rows", snapshot=snapshot)


def run_ends(db: Database) -> dict[str, datetime | None]:
    """When each run ended, None if it has not."""
    return {row["id"]: row["finished"] for row in db.rows("retention.run_ends")}


def add_run(db: Database, *, id: str, time: datetime, state: str, actor: str, comment: str) -> None:
    """Add a deletion by age."""
    db.run("retention.add_run", id=id, time=time, state=state, actor=actor, comment=comment)


def set_run(db: Database, *, id: str, state: str, deleted: str, finished: datetime | None = None) -> None:
    """Set the state of a deletion, and what it has deleted so far, as JSON."""
    db.run("retention.set_run", id=id, state=state, deleted=deleted, finished=finished)


def run(db: Database, *, id: str) -> Row | None:
    """One deletion by age."""
    return db.maybe("retention.run", id=id)


def newest_runs(db: Database, *, limit: int) -> list[Row]:
    """Deletions by age, newest first."""
    return db.rows("retention.newest_runs", limit=limit)


def interrupt(db: Database, *, time: datetime) -> None:
    """Record that deletions ended with their process."""
    db.run("retention.interrupt", time=time)


def announced(db: Database) -> datetime | None:
    """When the schedule was announced, None if it was not."""
    row = db.maybe("retention.announced")
    return row["started"] if row else None


def last_rewrite(db: Database) -> datetime | None:
    """When a deletion last rewrote the store's file, None if none has."""
    return db.one("retention.last_rewrite")["time"]
