"""Quarantine: votes that no snapshot uses until a person has reviewed them."""

from datetime import datetime
from typing import Any, Literal

from core.clock import new_id
from core.db import quarantines
from core.db.store import Database, Store, Transaction
from core.errors import AlreadyDone, NotFound, NotReady

Outcome = Literal["released", "rejected"]


def hold(
    transaction: Transaction, model: str, *, version: int, beside: int, decision_id: str, time: datetime
) -> dict[str, Any] | None:
    """Hold the votes that a version learned from and the version compared with it did not.

    Returns the quarantine's id and its number of votes, or None if there are no such votes.
    """
    votes = quarantines.suspect_votes(transaction, model=model, version=version, beside=beside)
    if not votes:
        return None
    identity = new_id("quar")
    quarantines.add(transaction, id=identity, model=model, version=version, decision_id=decision_id, time=time)
    quarantines.add_votes(transaction, id=identity, feedback_ids=votes)
    return {"id": identity, "votes": len(votes)}


def count(store: Store, model: str, *, version: int, beside: int) -> int:
    """The number of votes that `hold` would put in quarantine."""
    return len(quarantines.suspect_votes(store, model=model, version=version, beside=beside))


def hold_key(transaction: Transaction, model: str, key_id: str, identity: str) -> None:
    """Hold every vote of a key on a model, by the newest decision of the same transaction.

    Raises NotReady when the key has no vote that is not in quarantine already.
    """
    votes = quarantines.votes_of_key(transaction, model=model, key_id=key_id)
    if not votes:
        raise NotReady(
            f"The key {key_id[:64]!r} has no vote on {model} that is not in quarantine already.",
            hint="See: loraloop feedback --by-key, and loraloop quarantine",
        )
    quarantines.add_for_key(transaction, id=identity, model=model, key_id=key_id)
    quarantines.add_votes(transaction, id=identity, feedback_ids=votes)


def find(db: Database, identity: str) -> dict[str, Any]:
    """One quarantine, by its id or its number in the ledger. Raises NotFound."""
    row = quarantines.find(db, id=identity)
    if row is None:
        raise NotFound("quarantine", identity, hint="See: loraloop quarantine")
    return row


def decide(
    transaction: Transaction, identity: str, outcome: Outcome, *, actor: str, comment: str, time: datetime
) -> None:
    """End a quarantine: release its votes, or leave them out permanently. Raises AlreadyDone if it has ended."""
    row = find(transaction, identity)
    if row["state"] != "held":
        raise AlreadyDone(f"The quarantine {identity} was already {row['state']} by {row['actor']}.")
    quarantines.set_outcome(transaction, id=identity, state=outcome, time=time, actor=actor, comment=comment)
