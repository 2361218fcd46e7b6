"""New votes of a model: those that arrived since the feedback that its last run used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.db import runs
from core.db.store import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NewVotes:
    """Number of answers or pairs with a new vote, and of their voters."""

    answers: int
    voters: int


def at_most(db: Database, *, model: str, types: Sequence[str]) -> int:
    """The largest number of answers with a new vote of these types that `count` can return.

    It reads new votes alone, so that it is cheap at every check.
    """
    asked = {"model": model, "types": list(types), "until": _until(db, model)}
    arrived = db.one("new_votes.arrived", **asked)["n"]
    if not arrived or not db.one("new_votes.has_quarantine")["has"]:
        return arrived
    return db.one("new_votes.at_most", **asked)["n"]


def count(
    db: Database,
    *,
    model: str,
    types: Sequence[str],
    middle: float | None = None,
    compares: bool = False,
) -> NewVotes:
    """Count answers or pairs with a new vote of these types, and their voters.

    Votes that were revoked or are in quarantine do not count. A rating counts if it is not the `middle` of its scale;
    None: no rating counts. With `compares`, a correction needs the answer that it corrects.
    """
    found = db.one(
        "new_votes.count",
        model=model,
        types=list(types),
        until=_until(db, model),
        middle=middle,
        compares=compares,
    )
    return NewVotes(**found)


def _until(db: Database, model: str) -> datetime:
    return runs.newest_feedback_until(db, model=model) or EPOCH
