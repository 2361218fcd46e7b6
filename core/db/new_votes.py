"""New votes of a model: those that arrived since the feedback that its last run used."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.db import runs
from core.db.store import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class NewVotes:
    """Number of answers or pairs with a new vote, and of their voters."""

    answers: int
    voters: int


@dataclass(frozen=True, slots=True)
class Asked:
    """Votes of these types about a model."""

    model: str
    types: Sequence[str]


def at_most(db: Database, asked: Sequence[Asked]) -> list[int]:
    """For each, the largest number of answers with a new vote of these types that `count` can return.

    It reads new votes alone, and all in one query, so that it is cheap at every check and on a page of many models.
    """
    if not asked:
        return []
    untils = _untils(db, {one.model for one in asked})
    rows = [(place, one.model, untils[one.model], type) for place, one in enumerate(asked) for type in one.types]
    names = ("place", "model", "until", "type")
    given: dict[str, Any] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    given["since"] = min(untils.values())
    numbers = {row["place"]: row["n"] for row in db.rows("new_votes.at_most", **given)}
    return [numbers.get(place, 0) for place in range(len(asked))]


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
        until=_untils(db, [model])[model],
        middle=middle,
        compares=compares,
    )
    return NewVotes(**found)


def _untils(db: Database, models: Collection[str]) -> dict[str, datetime]:
    found = runs.newest_feedback_until(db, models=list(models))
    return {model: found.get(model, EPOCH) for model in models}
