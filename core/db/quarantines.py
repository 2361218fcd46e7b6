"""Quarantines, the predicates that say which votes they hold, and those votes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from core.db import interactions
from core.db.columns import table
from core.db.rows import utc
from core.db.store import Database, Row, Transaction

ROWS = pa.schema(
    [("quarantine_id", pa.string()), ("feedback_id", pa.string()), ("voter", pa.string()), ("time", pa.timestamp("us"))]
)


@dataclass(frozen=True, slots=True)
class Predicate:
    """Which votes on a model a quarantine holds: those of a key, of a user, of a time. None fits every vote."""

    key: str | None = None
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Votes that a quarantine holds, those that no other quarantine holds, and the voters who gave them."""

    votes: int
    added: int
    voters: int


@dataclass(frozen=True, slots=True)
class Held:
    """Number of votes in a quarantine, of their users, of votes without a known user, and some of the votes."""

    votes: int
    users: int
    unnamed: int
    shown: list[Row]


@dataclass(frozen=True, slots=True)
class VoterAgainst:
    """A voter, or a key if `user` is None, by its thumbs-down and flags on the answers of one version.

    `peak` is the most of them in ten minutes, `typical` the median of all voters' totals. Of the `compared` answers
    that others judged too, others approve of `contradicted`.
    """

    key: str | None
    user: str | None
    peak: int
    typical: float
    compared: int
    contradicted: int


def add(db: Database, *, id: str, model: str, version: int | None, decision_id: str, time: datetime) -> None:
    """Add a quarantine; `version` is the one whose rollback put the votes there, if any."""
    db.run("quarantines.add", id=id, model=model, version=version, decision_id=decision_id, time=time)


def add_predicates(transaction: Transaction, *, id: str, predicates: Sequence[Predicate]) -> None:
    """Add predicates to a quarantine, and hold the votes that fit them. The cost grows with all votes of the store."""
    rows = [
        {
            "quarantine_id": id,
            "key_id": one.key,
            "user_id": one.user,
            "from_time": one.since,
            "until_time": one.until,
        }
        for one in predicates
    ]
    transaction.run_set("quarantines.add_predicates", rows)
    transaction.run("quarantines.hold", quarantine_id=id)
    transaction.run("quarantines.hold_preferences", quarantine_id=id)


def hold_new(transaction: Transaction) -> None:
    """Hold the votes of this transaction that fit a predicate. The cost grows with these votes, not with older ones."""
    moment = transaction.one("quarantines.moment")["moment"]
    if moment is None:
        return
    fitting = transaction.rows("quarantines.fitting", moment=moment)
    chosen = interactions.served(transaction, list({row["chosen"] for row in fitting if row["chosen"] is not None}))
    rows = [
        (row["quarantine_id"], row["id"], row["voter"], utc(row["time"]))
        for row in fitting
        if row["chosen"] is None or (row["chosen"] in chosen and chosen[row["chosen"]].model == row["held_model"])
    ]
    transaction.run_table("quarantines.add_rows", table(ROWS, rows))


def let_go(transaction: Transaction, ids: Sequence[str]) -> None:
    """Hold these votes no more: they are said again, maybe by another user. `hold_new` holds what still fits."""
    transaction.run_in("quarantines.let_go", ids)


def size(db: Database, *, id: str) -> Size:
    """How many votes a quarantine holds now, of how many voters."""
    return Size(**db.one("quarantines.size", id=id))


def find(db: Database, *, id: str) -> Row | None:
    """One quarantine by its id, or by its decision's number."""
    return db.maybe("quarantines.find", id=id)


def held_after(db: Database, *, model: str, version: int) -> list[str]:
    """Ids of quarantines that a version's rollback made and that nobody has decided."""
    return [row["id"] for row in db.rows("quarantines.held_after", model=model, version=version)]


def predicates(db: Database, *, ids: Sequence[str]) -> dict[str, list[Predicate]]:
    """The predicates of quarantines, by quarantine."""
    found: dict[str, list[Predicate]] = {id: [] for id in ids}
    for row in db.rows("quarantines.predicates", ids=list(ids)) if ids else ():
        found[row["quarantine_id"]].append(Predicate(row["key"], row["user"], row["from"], row["until"]))
    return found


def same_held(db: Database, *, model: str, predicate: Predicate) -> str | None:
    """A quarantine that holds the votes of exactly this predicate, if there is one."""
    row = db.maybe(
        "quarantines.same_held",
        model=model,
        key_id=predicate.key,
        user_id=predicate.user,
        from_time=predicate.since,
        until_time=predicate.until,
    )
    return row["id"] if row else None


def named_voters(db: Database, *, model: str) -> set[tuple[str | None, str]]:
    """Key and user of every voter whom a quarantine of a model names, held or decided."""
    return {(row["key"], row["user"]) for row in db.rows("quarantines.named_voters", model=model)}


def set_outcome(db: Database, *, state: str, time: datetime, actor: str, comment: str, id: str) -> None:
    """Record the outcome of a quarantine."""
    db.run("quarantines.set_outcome", state=state, time=time, actor=actor, comment=comment, id=id)


def undecided(db: Database) -> dict[str, int]:
    """Number of quarantines that nobody has decided, by model."""
    return {row["model"]: row["n"] for row in db.rows("quarantines.undecided")}


def newest(db: Database, *, model: str | None) -> list[Row]:
    """Quarantines with their size, newest first, of one model or of all."""
    return db.rows("quarantines.newest", model=model)


def held(db: Database, *, id: str, limit: int) -> Held:
    """The votes of a quarantine; users with most votes come first."""
    found = db.rows("quarantines.held", id=id, limit=limit)
    if not found:
        return Held(0, 0, 0, [])
    said = {row["id"]: row for row in db.rows_in("quarantines.votes", [row["id"] for row in found])}
    about = list({row["interaction_id"] for row in said.values() if row["interaction_id"]})
    answers = {row["id"]: row for row in db.rows_in("quarantines.answers", about)}
    shown: list[Row] = []
    for row in (row for row in found if row["id"] in said):
        answer = answers.get(said[row["id"]]["interaction_id"], {})
        who = row["voter"] or answer.get("conversation_id")
        shown.append(said[row["id"]] | {"who": who, "answer": answer.get("answer")})
    return Held(found[0]["votes"], found[0]["users"], found[0]["unnamed"], shown)


def voters_against(db: Database, *, model: str, version: int, least: int) -> list[VoterAgainst]:
    """Voters whose votes against a version could be a burst or contradict others; `least` is the fewest that count."""
    rows = db.rows("quarantines.voters_against", model=model, version=version, least=least)
    return [VoterAgainst(**row) for row in rows]
