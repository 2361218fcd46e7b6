"""Quarantine: votes that no snapshot takes until somebody has looked at them.

It owns which votes are held and for how long; who may decide, and what the ledger learns of it, is decided above.
"""

from datetime import datetime
from typing import Any, Literal

from core.clock import new_id
from core.db import quarantines
from core.db.store import Database, Store, Transaction
from core.errors import NotReady, UnknownDecision

Outcome = Literal["released", "rejected"]


def hold(
    transaction: Transaction, model: str, *, version: int, beside: int, decision_id: str, time: datetime
) -> dict[str, Any] | None:
    """Holds what a version learnt from and the version beside it did not; None when that is nothing.

    Returns the quarantine's id and how many votes are in it.
    """
    votes = quarantines.suspect_votes(transaction, model=model, version=version, beside=beside)
    if not votes:
        return None
    identity = new_id("quar")
    quarantines.add(transaction, id=identity, model=model, version=version, decision_id=decision_id, time=time)
    quarantines.add_votes(transaction, id=identity, feedback_ids=votes)
    return {"id": identity, "votes": len(votes)}


def count(store: Store, model: str, *, version: int, beside: int) -> int:
    """How many votes `hold` would take."""
    return len(quarantines.suspect_votes(store, model=model, version=version, beside=beside))


def hold_key(transaction: Transaction, model: str, key_id: str) -> str:
    """Holds what a key gave of a model, by the decision that was just sealed. Returns the quarantine's id.

    Raises NotReady when the key gave nothing that is not held already.
    """
    votes = quarantines.votes_of_key(transaction, model=model, key_id=key_id)
    if not votes:
        raise NotReady(
            f"No vote of the key {key_id[:64]!r} on {model} could be held.",
            hint="See: loraloop feedback --by-key, and loraloop quarantine",
        )
    identity = new_id("quar")
    quarantines.add_for_key(transaction, id=identity, model=model, key_id=key_id)
    quarantines.add_votes(transaction, id=identity, feedback_ids=votes)
    return identity


def find(db: Database, identity: str) -> dict[str, Any]:
    """One quarantine, by its id or the number of its row in the ledger. Raises UnknownDecision."""
    row = quarantines.find(db, id=identity)
    if row is None:
        raise UnknownDecision(f"There is no quarantine {identity!r}.", hint="See: loraloop quarantine")
    return row


def decide(
    transaction: Transaction, identity: str, outcome: Outcome, *, actor: str, comment: str, time: datetime
) -> None:
    """Ends a quarantine: its votes come back, or stay out for good. Raises NotReady when that was done before."""
    row = find(transaction, identity)
    if row["state"] != "held":
        raise NotReady(f"The quarantine {identity} was {row['state']} by {row['actor']} already.")
    quarantines.set_outcome(transaction, id=identity, state=outcome, time=time, actor=actor, comment=comment)
