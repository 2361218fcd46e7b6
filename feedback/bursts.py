"""Find bursts of votes: far more than before, from new voters, who all say the same. Arrays in, predicates out.

A burst needs all three. An honest launch day has many new voters, but their votes differ. `feedback.phrases` finds
voters who are slow and write the same.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from core.db.quarantines import Predicate

HOUR, DAY = 3600.0, 86400.0
# A voter is new in an hour if the first vote is at most a day older.
NEW_S = DAY
# New voters that a burst needs, and their share of its votes.
FEWEST_VOTERS = 5
NEW_SHARE = 0.5
# The share of the new voters' votes that say the same, and the highest share of all other votes that say it.
SAME_SHARE = 0.9
USUAL_SHARE = 0.6
# Votes outside the burst that the usual share needs, and hours with votes that a history needs.
FEWEST_OTHERS = 100
FEWEST_HOURS = 24

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TimedVotes:
    """Votes with what they say: `key`, `voter`, `value` and `cluster` are numbers from 0, (n,) each.

    `time` is in seconds since 1970. A `value` is a type with what it says, such as a thumbs-down. It is -1 for a text.
    A `cluster` holds equal prompts. It is -1 where the prompt is unknown. `keys` and `users` name the key and the user
    of each voter.
    """

    key: Integers
    voter: Integers
    value: Integers
    cluster: Integers
    time: Floats
    keys: list[str | None]
    users: list[str]


@dataclass(frozen=True, slots=True)
class BurstRules:
    """The fewest votes of a burst in one hour, and how many times the median hour they are."""

    votes: int = 20
    ratio: float = 5.0


@dataclass(frozen=True, slots=True)
class Burst:
    """Whose votes to hold, one predicate per voter, and why."""

    predicates: tuple[Predicate, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class _Slots:
    """Hours with votes of one key or one cluster. `of` is the slot of each vote, the rest has an entry per slot."""

    of: Integers
    start: Floats
    count: Integers
    typical: Floats


def find_bursts(votes: TimedVotes, rules: BurstRules) -> list[Burst]:
    """The bursts of each key and of each cluster, oldest first. A voter is in one burst only."""
    found: dict[int, tuple[float, str]] = {}
    first = np.full(len(votes.users), np.inf)
    np.minimum.at(first, votes.voter, votes.time)
    for name, group in (("key", votes.key), ("prompt", votes.cluster)):
        for offset in (0.0, HOUR / 2):
            for voter, reason in _suspects(votes, first, _slots(votes.time, group, offset), rules, name):
                found.setdefault(voter, (first[voter], reason))
    reasons: dict[str, list[int]] = {}
    for voter, (_, reason) in sorted(found.items(), key=lambda one: (one[1], one[0])):
        reasons.setdefault(reason, []).append(voter)
    return [
        Burst(tuple(predicate_of(votes.keys[v], votes.users[v], first[v]) for v in voters), reason)
        for reason, voters in reasons.items()
    ]


def predicate_of(key: str | None, user: str, since: float) -> Predicate:
    """A predicate of one voter's votes from a time in seconds since 1970, with no end: later votes are held too."""
    return Predicate(key, user, datetime.fromtimestamp(since, UTC))


def _slots(time: Floats, group: Integers, offset: float) -> _Slots:
    """Hours with votes of each group, and the median of the group's hours. A short history has a median of 0."""
    hour = np.floor((time + offset) / HOUR).astype(np.int64)
    hour -= hour.min(initial=0)
    width = int(hour.max(initial=0)) + 1
    places, of, count = np.unique((group + 1) * width + hour, return_inverse=True, return_counts=True)
    owner, start = places // width, np.full(len(places), np.inf)
    np.minimum.at(start, of, np.floor((time + offset) / HOUR) * HOUR - offset)
    order = np.lexsort((count, owner))
    _, begins, hours = np.unique(owner[order], return_index=True, return_counts=True)
    medians = np.where(hours >= FEWEST_HOURS, count[order][begins + hours // 2], 0)
    typical = np.repeat(medians, hours)[np.argsort(order)]
    count[owner == 0] = 0  # votes without a group are in no burst
    return _Slots(of, start, count, typical.astype(np.float64))


def _suspects(votes: TimedVotes, first: Floats, slots: _Slots, rules: BurstRules, name: str) -> list[tuple[int, str]]:
    """The new voters of each burst who say what the burst says, with the reason."""
    recent = (first[votes.voter] >= slots.start[slots.of] - NEW_S) & (votes.value >= 0)
    n = len(slots.count)
    pairs = np.unique(slots.of[recent] * len(votes.users) + votes.voter[recent])
    new_voters = np.bincount(pairs // max(1, len(votes.users)), minlength=n)
    new_votes = np.bincount(slots.of[recent], minlength=n)
    fast = (slots.count >= rules.votes) & (slots.count > rules.ratio * slots.typical)
    many = (new_voters >= FEWEST_VOTERS) & (new_votes >= NEW_SHARE * slots.count)
    found = []
    for slot in np.flatnonzero(fast & many):
        inside = slots.of == slot
        value, share, usual = _sameness(votes.value, inside & recent, ~inside)
        if share >= SAME_SHARE and usual <= USUAL_SHARE:
            who = np.unique(votes.voter[inside & recent & (votes.value == value)])
            reason = (
                f"{slots.count[slot]} votes on one {name} in the hour from {_moment(float(slots.start[slot]))}, "
                f"where half of its hours have {slots.typical[slot]:g}. {len(who)} new voters say the same "
                f"in {share:.0%} of their votes, other votes in {usual:.0%}"
            )
            found += [(int(voter), reason) for voter in who]
    return found


def _sameness(value: Integers, inside: Flags, outside: Flags) -> tuple[int, float, float]:
    """The value that most votes inside have, its share there, and its share outside (1 if these are too few)."""
    counts = np.bincount(value[inside])
    most = int(np.argmax(counts))
    others = value[outside & (value >= 0)]
    usual = float(np.mean(others == most)) if len(others) >= FEWEST_OTHERS else 1.0
    return most, float(counts[most] / counts.sum()), usual


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
