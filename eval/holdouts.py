"""Holdouts: choose which held-out users judge a candidate, and record each use.

A holdout has a maximum number of uses. Then its bucket starts a new generation with users who were not used: h1, h1.2.
"""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from core.db import evaluations
from core.db.store import Database, Store
from core.errors import NotReady
from core.names import REVIEWER
from core.prompts import Prompt
from core.settings import ModelSettings
from eval.champion_users import users_of_champion
from eval.gates.offline import LAST_USE, LEAST_ITEMS, LEAST_USERS
from feedback.pairs import Pair
from feedback.snapshot import Row, Snapshot
from feedback.split import HOLDOUTS, split_key


@dataclass(frozen=True, slots=True)
class Holdout:
    """Rows that judge a candidate. `use` is the number of uses of this holdout, this one included.

    `before` holds the users of earlier generations of the bucket, and those from whom the champion learnt. `pairs` are
    the preferences of its users. Where they judge and there are no rows, `rows` have their prompts with the chosen
    answers.
    """

    name: str
    use: int
    rows: tuple[Row, ...]
    before: frozenset[str] = frozenset()
    pairs: tuple[Pair, ...] = ()

    @property
    def bucket(self) -> str:
        """The bucket that this holdout is a generation of."""
        return _bucket(self.name)


@dataclass(frozen=True, slots=True)
class Past:
    """Earlier uses of a model's holdouts, by name: their number, and the users.

    `learnt_from` are users who must not judge, because the champion learnt from them before the split was changed.
    """

    uses: Mapping[str, int]
    users: Mapping[str, frozenset[str]]
    learnt_from: frozenset[str] = frozenset()


def choose(snapshot: Snapshot, past: Past, settings: ModelSettings) -> Holdout | str:
    """The holdout with enough users and the lowest generation, or the reason why there is none."""
    holdouts = [_next(bucket, snapshot, past, settings) for bucket in HOLDOUTS]
    sufficient = [holdout for holdout in holdouts if not _missing_users(holdout, settings)]
    if sufficient:
        return min(sufficient, key=lambda holdout: _generation(holdout.name))
    return _shortage(holdouts, settings)


def reserve(store: Store, model: str, run_id: str, snapshot: Snapshot, settings: ModelSettings) -> Holdout:
    """Choose the holdout of a run and record its use, before the evaluation starts, so that a crash counts too.

    A run that continues after a crash gets its holdout again, with the same rows. Raises NotReady if there is none.
    """
    # To read the champion's rows can take seconds, in which others write.
    learnt_from = users_of_champion(store, model, settings)
    with store.transaction() as transaction:
        past = _past(transaction, model, learnt_from)
        recorded = evaluations.holdout_use(transaction, run_id=run_id)
        if recorded:
            holdout = _holdout(recorded.bucket, recorded.use, snapshot, past, settings)
        else:
            chosen = choose(snapshot, past, settings)
            if isinstance(chosen, str):
                raise NotReady(chosen)
            holdout = chosen
            evaluations.add_holdout_use(transaction, model=model, bucket=holdout.name, run_id=run_id, use=holdout.use)
        users = {user for judged in (holdout.rows, holdout.pairs) for one in judged for user in _people(one)}
        evaluations.add_holdout_users(transaction, model=model, holdout=holdout.name, users=users)
    return holdout


def reserve_users(store: Store, model: str, holdout: Holdout, users: Collection[str]) -> None:
    """Record further users of a holdout, whose votes are not rows, so that no later generation uses them."""
    evaluations.add_holdout_users(store, model=model, holdout=holdout.name, users=users)


def shortage_reason(store: Store, model: str, snapshot: Snapshot, settings: ModelSettings) -> str | None:
    """Why no holdout can judge a candidate of this snapshot. None if one can."""
    chosen = choose(snapshot, _past(store, model, users_of_champion(store, model, settings)), settings)
    return chosen if isinstance(chosen, str) else None


def _past(db: Database, model: str, learnt_from: frozenset[str]) -> Past:
    by_holdout: dict[str, set[str]] = {}
    for row in evaluations.holdout_users(db, model=model):
        by_holdout.setdefault(row.holdout, set()).add(row.user)
    return Past(
        {row.bucket: row.uses for row in evaluations.holdout_uses(db, model=model)},
        {name: frozenset(found) for name, found in by_holdout.items()},
        learnt_from,
    )


def _bucket(name: str) -> str:
    return name.partition(".")[0]


def _generation(name: str) -> int:
    return int(name.partition(".")[2] or 1)


def _next(bucket: str, snapshot: Snapshot, past: Past, settings: ModelSettings) -> Holdout:
    """The bucket's next use: its newest generation again, or a new generation if that has no uses left."""
    newest = max((_generation(name) for name in past.uses if _bucket(name) == bucket), default=1)
    uses = past.uses.get(_name(bucket, newest), 0)
    if uses < LAST_USE:
        return _holdout(_name(bucket, newest), uses + 1, snapshot, past, settings)
    return _holdout(_name(bucket, newest + 1), 1, snapshot, past, settings)


def _name(bucket: str, generation: int) -> str:
    return bucket if generation == 1 else f"{bucket}.{generation}"


def _holdout(name: str, use: int, snapshot: Snapshot, past: Past, settings: ModelSettings) -> Holdout:
    """The rows of users of no earlier generation. Later generations do not change them, so that a run can continue."""
    bucket = _bucket(name)
    generations = (past.users.get(_name(bucket, g), ()) for g in range(1, _generation(name)))
    before = past.learnt_from.union(*generations)
    rows = [row for row in snapshot.of(bucket) if not _people(row) & before]
    voted = [pair for pair in snapshot.pairs_of(bucket) if pair.signal == "preference"]
    pairs = tuple(pair for pair in voted if not _people(pair) & before)
    if settings.promotion.primary.is_of_preferences and not rows:
        rows = _preferred_rows(pairs)
    return Holdout(name, use, tuple(_limit_rows(rows, settings.evaluation.items, name)), before, pairs)


def _preferred_rows(pairs: Sequence[Pair]) -> list[Row]:
    """A row for each user's prompts in the pairs, with the first answer that the user chose."""
    first: dict[tuple[Prompt, str], Pair] = {}
    for pair in pairs:
        first.setdefault((pair.prompt, pair.user), pair)
    return [
        Row(pair.interaction_id, pair.feedback_id, pair.user, pair.bucket, pair.prompt, pair.chosen, pair.signal)
        for pair in first.values()
    ]


def _people(judged: Row | Pair) -> set[str]:
    """The voter and the asker, as far as they are known. Not a reviewer, who is in the bucket of the asker."""
    return {user for user in (judged.user, judged.asker) if user and not user.startswith(split_key(REVIEWER))}


def _judging(holdout: Holdout, settings: ModelSettings) -> Sequence[Row] | Sequence[Pair]:
    """What judges by the primary KPI."""
    return holdout.pairs if settings.promotion.primary.is_of_preferences else holdout.rows


def _limit_rows(rows: Sequence[Row], maximum: int, name: str) -> list[Row]:
    """Choose whole users within the maximum number of rows. The order depends on the name, so the choice repeats."""
    if len(rows) <= maximum:
        return list(rows)
    by_user: dict[str, int] = {}
    for row in rows:
        by_user[row.user] = by_user.get(row.user, 0) + 1
    chosen, left = set[str](), maximum
    for user in sorted(by_user, key=lambda user: hashlib.sha256(f"{name}\n{user}".encode()).digest()):
        if by_user[user] <= left:
            chosen.add(user)
            left -= by_user[user]
    return [row for row in rows if row.user in chosen]


def _missing_users(holdout: Holdout, settings: ModelSettings) -> int:
    """The number of further users that the holdout needs. Each adds at least one label."""
    judging = _judging(holdout, settings)
    missing = max(LEAST_USERS - len({one.user for one in judging}), LEAST_ITEMS - len(judging), 0)
    alike = settings.task == "classify" and len({row.label for row in holdout.rows}) < 2
    return max(missing, int(alike))


def _shortage(holdouts: Sequence[Holdout], settings: ModelSettings) -> str:
    nearest = min(holdouts, key=lambda holdout: _missing_users(holdout, settings))
    missing = _missing_users(nearest, settings)
    share = (1 - settings.split.train - settings.split.dev) / len(HOLDOUTS)
    judging = _judging(nearest, settings)
    users = len({one.user for one in judging})
    unit = "preferences" if settings.promotion.primary.is_of_preferences else "labels"
    classes = ", and two different labels" if settings.task == "classify" else ""
    return (
        f"No holdout can judge a candidate. {nearest.name} has {len(judging)} {unit} from {users} unused users. "
        f"It needs {LEAST_ITEMS} {unit} from {LEAST_USERS} users{classes}. {missing} users are "
        f"missing, which is about {math.ceil(missing / share)} more users with feedback over all buckets."
    )
