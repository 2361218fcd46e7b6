"""Holdouts: which held-out users judge a candidate, and how often they did.

It owns the choice among the buckets, their generations and what is written down of both; it must not know arms or
verdicts. A bucket that was asked as often as it may be opens again for users whom it has not asked: h1, then h1.2.
"""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.db import evaluations
from core.db.store import Store
from core.errors import NotReady
from core.settings import ModelSettings
from eval.gates.offline import LAST_USE, LEAST_ITEMS, LEAST_USERS
from feedback.snapshot import Row, Snapshot
from feedback.split import HOLDOUTS


@dataclass(frozen=True, slots=True)
class Holdout:
    """Rows to ask. `use` counts how often those of this name were, this time included.

    `before` are the users whom earlier generations of the bucket asked.
    """

    name: str
    use: int
    rows: tuple[Row, ...]
    before: frozenset[str] = frozenset()

    @property
    def bucket(self) -> str:
        """The bucket of users that it is a generation of."""
        return _bucket(self.name)


@dataclass(frozen=True, slots=True)
class Past:
    """What a model's holdouts were asked before, by name: how often, and which users."""

    uses: Mapping[str, int]
    users: Mapping[str, frozenset[str]]


def choose(snapshot: Snapshot, past: Past, settings: ModelSettings) -> Holdout | str:
    """The earliest generation of a bucket that may be asked and has enough users, or why there is none."""
    found = [_next(bucket, snapshot, past, settings) for bucket in HOLDOUTS]
    fit = [holdout for holdout in found if not _wanted(holdout, settings)]
    if fit:
        return min(fit, key=lambda holdout: _generation(holdout.name))
    return _lack(found, settings)


def reserve(store: Store, model: str, run_id: str, snapshot: Snapshot, settings: ModelSettings) -> Holdout:
    """The holdout that a run asks, written down before it is asked so that a crash spends it too.

    A run that goes on after a crash has its own again, with the same rows. Raises NotReady when there is none to ask.
    """
    with store.transaction() as transaction:
        past = _past(
            evaluations.holdout_uses(transaction, model=model), evaluations.holdout_users(transaction, model=model)
        )
        own = evaluations.holdout_use(transaction, run_id=run_id)
        if own:
            found = _rows_of(own.bucket, own.use, snapshot, past, settings)
        else:
            chosen = choose(snapshot, past, settings)
            if isinstance(chosen, str):
                raise NotReady(chosen)
            found = chosen
            evaluations.add_holdout_use(transaction, model=model, bucket=found.name, run_id=run_id, use=found.use)
        evaluations.add_holdout_users(
            transaction, model=model, holdout=found.name, users={row.user for row in found.rows}
        )
    return found


def reserve_users(store: Store, model: str, holdout: Holdout, users: Collection[str]) -> None:
    """Writes down that a holdout asks further users, whose votes are no rows, so that no later generation does."""
    evaluations.add_holdout_users(store, model=model, holdout=holdout.name, users=users)


def shortage_reason(store: Store, model: str, snapshot: Snapshot, settings: ModelSettings) -> str | None:
    """Why no holdout could judge a candidate of this snapshot; None where one could."""
    found = choose(
        snapshot,
        _past(evaluations.holdout_uses(store, model=model), evaluations.holdout_users(store, model=model)),
        settings,
    )
    return found if isinstance(found, str) else None


def _past(uses: Sequence[evaluations.HoldoutUses], users: Sequence[evaluations.HoldoutUser]) -> Past:
    asked: dict[str, set[str]] = {}
    for row in users:
        asked.setdefault(row.holdout, set()).add(row.user)
    return Past({row.bucket: row.uses for row in uses}, {name: frozenset(found) for name, found in asked.items()})


def _bucket(name: str) -> str:
    return name.partition(".")[0]


def _generation(name: str) -> int:
    return int(name.partition(".")[2] or 1)


def _next(bucket: str, snapshot: Snapshot, past: Past, settings: ModelSettings) -> Holdout:
    """The bucket as it would be asked now: its newest generation once more, or a new one where that is spent."""
    newest = max((_generation(name) for name in past.uses if _bucket(name) == bucket), default=1)
    uses = past.uses.get(_named(bucket, newest), 0)
    if uses < LAST_USE:
        return _rows_of(_named(bucket, newest), uses + 1, snapshot, past, settings)
    return _rows_of(_named(bucket, newest + 1), 1, snapshot, past, settings)


def _named(bucket: str, generation: int) -> str:
    return bucket if generation == 1 else f"{bucket}.{generation}"


def _rows_of(name: str, use: int, snapshot: Snapshot, past: Past, settings: ModelSettings) -> Holdout:
    """Rows of users whom no earlier generation asked; later ones leave it as it is, so that a run can go on."""
    bucket = _bucket(name)
    before = frozenset[str]().union(*(past.users.get(_named(bucket, g), ()) for g in range(1, _generation(name))))
    rows = [row for row in snapshot.of(bucket) if row.user not in before]
    return Holdout(name, use, tuple(_at_most(settings.evaluation.items, rows, name)), before)


def _at_most(most: int, rows: Sequence[Row], name: str) -> list[Row]:
    """Whole users in an order that is the name's own, each who still fits; so the same rows give the same choice."""
    if len(rows) <= most:
        return list(rows)
    by_user: dict[str, int] = {}
    for row in rows:
        by_user[row.user] = by_user.get(row.user, 0) + 1
    chosen, left = set[str](), most
    for user in sorted(by_user, key=lambda user: hashlib.sha256(f"{name}\n{user}".encode()).digest()):
        if by_user[user] <= left:
            chosen.add(user)
            left -= by_user[user]
    return [row for row in rows if row.user in chosen]


def _wanted(holdout: Holdout, settings: ModelSettings) -> int:
    """How many more users the holdout wants before it can judge; each brings one label at least."""
    missing = max(LEAST_USERS - len({row.user for row in holdout.rows}), LEAST_ITEMS - len(holdout.rows), 0)
    alike = settings.task == "classify" and len({row.label for row in holdout.rows}) < 2
    return max(missing, int(alike))


def _lack(found: Sequence[Holdout], settings: ModelSettings) -> str:
    nearest = min(found, key=lambda holdout: _wanted(holdout, settings))
    wanted = _wanted(nearest, settings)
    share = (1 - settings.split.train - settings.split.dev) / len(HOLDOUTS)
    users = len({row.user for row in nearest.rows})
    return (
        f"No holdout can judge a candidate: {nearest.name} has {len(nearest.rows)} labels of {users} users whom it may "
        f"still ask, and wants {LEAST_ITEMS} of {LEAST_USERS}, not all alike. It takes {wanted} new users there, about "
        f"{math.ceil(wanted / share)} new users who say what is right in all."
    )
