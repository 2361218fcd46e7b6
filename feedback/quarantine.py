"""Quarantine: votes that no snapshot uses until a person has reviewed them.

A quarantine holds every vote on a model that fits one of its predicates, also one that arrives later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from core.clock import new_id
from core.db import quarantines
from core.db.quarantines import Predicate, Size
from core.db.store import Database, Store, Transaction
from core.errors import AlreadyDone, InputError, NotFound
from feedback.indictment import FEWEST, Indictment, indicted
from feedback.tombstones import hash_of

Outcome = Literal["released", "rejected"]


@dataclass(frozen=True, slots=True)
class Hold:
    """A quarantine to make: its id, whose votes, and the version whose rollback makes it, if one does."""

    quarantine_id: str
    predicates: tuple[Predicate, ...]
    version: int | None = None


def check(predicate: Predicate) -> Predicate:
    """The predicate, if it says whose votes. Raises InputError."""
    if predicate == Predicate():
        raise InputError("Say whose votes to hold: a key, a user, or a time.", hint="See: loraloop feedback --by-user")
    if predicate.since and predicate.until and predicate.until <= predicate.since:
        raise InputError("until: must be later than from.", hint="Exchange the two times.")
    return predicate


def describe(predicate: Predicate) -> str:
    """Whose votes a predicate fits, in words."""
    whose = f"user {predicate.user}" if predicate.user is not None else ""
    if predicate.key is not None:
        whose += f"{' by ' if whose else ''}the key {predicate.key}"
    since = f"from {_moment(predicate.since)}" if predicate.since else ""
    until = f"until {_moment(predicate.until)}" if predicate.until else ""
    return " ".join(part for part in (whose or "everybody", since, until) if part)


def without_names(predicates: Sequence[Predicate]) -> tuple[Predicate, ...]:
    """The predicates with hashes instead of users, for the ledger: it never changes, so it can have no name."""
    return tuple(
        one if one.user is None else replace(one, user=f"with the hash {hash_of(one.user)[:16]}") for one in predicates
    )


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def whose(predicates: Sequence[Predicate], version: int | None) -> str:
    """Whose votes a quarantine holds, in words. One from before predicates holds what a version learned first."""
    if not predicates:
        return f"what version {version} was the first to learn from"
    more = f" and {len(predicates) - 3} more" if len(predicates) > 3 else ""
    return ", ".join(describe(one) for one in predicates[:3]) + more


def hold(transaction: Transaction, model: str, request: Hold, *, decision_id: str, time: datetime) -> None:
    """Make a quarantine: a few statements, however many votes it holds."""
    quarantines.add(
        transaction,
        id=request.quarantine_id,
        model=model,
        version=request.version,
        decision_id=decision_id,
        time=time,
    )
    quarantines.add_predicates(transaction, id=request.quarantine_id, predicates=request.predicates)


def require_new(db: Database, model: str, predicate: Predicate) -> None:
    """Raises AlreadyDone if exactly this is in quarantine already."""
    same = quarantines.same_held(db, model=model, predicate=predicate)
    if same:
        raise AlreadyDone(
            f"The votes of {describe(predicate)} on {model} are in quarantine already: {same}.",
            hint=f"See: loraloop quarantine show {same}",
        )


class _Undone(Exception):
    """Rolls back what a preview wrote."""


def preview(store: Store, model: str, predicate: Predicate, *, now: datetime) -> Size:
    """What a quarantine would hold: it is made, counted and rolled back, so that the count is that of the real one."""
    request = Hold(new_id("quar"), (predicate,))
    size = Size(0, 0, 0)
    try:
        with store.transaction() as transaction:
            hold(transaction, model, request, decision_id="preview", time=now)
            size = quarantines.size(transaction, id=request.quarantine_id)
            raise _Undone
    except _Undone:
        return size


def suspects(db: Database, model: str, version: int) -> Indictment:
    """Whose votes the rollback of a version holds, with the reason."""
    return indicted(model, quarantines.voters_against(db, model=model, version=version, least=FEWEST))


def held_after(db: Database, model: str, version: int) -> list[str]:
    """Quarantines that a version's rollback made and that nobody has decided."""
    return quarantines.held_after(db, model=model, version=version)


def find(db: Database, identity: str) -> dict[str, Any]:
    """One quarantine, by its id or its number in the ledger. Raises NotFound."""
    row = quarantines.find(db, id=identity)
    if row is None:
        raise NotFound("quarantine", identity, hint="See: loraloop quarantine")
    return with_predicates(db, [row])[0]


def with_predicates(db: Database, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Quarantines with their predicates and, in words, whose votes each holds."""
    found = quarantines.predicates(db, ids=[row["id"] for row in rows])
    return [row | _said(found[row["id"]], row["version"]) for row in rows]


def _said(predicates: list[Predicate], version: int | None) -> dict[str, Any]:
    only = predicates[0] if len(predicates) == 1 else Predicate()
    return {
        "key": only.key,
        "user": only.user,
        "from": only.since,
        "until": only.until,
        "whose": whose(predicates, version),
        "predicates": [{"key": one.key, "user": one.user, "from": one.since, "until": one.until} for one in predicates],
    }


def decide(
    transaction: Transaction, identity: str, outcome: Outcome, *, actor: str, comment: str, time: datetime
) -> None:
    """End a quarantine: release its votes, or leave them out permanently. Raises AlreadyDone if it has ended."""
    row = find(transaction, identity)
    if row["state"] != "held":
        raise AlreadyDone(f"The quarantine {identity} was already {row['state']} by {row['actor']}.")
    quarantines.set_outcome(transaction, id=identity, state=outcome, time=time, actor=actor, comment=comment)
