"""Facts about bursts: what is far more than before, by new voters, and says one thing. A launch day is none of it."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.bursts import HOUR, BurstRules, TimedVotes, find_bursts

START = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
RULES = BurstRules()
Given = list[tuple[str, str, int, float]]
"""Votes as key, user, value and time in hours."""


def timed(votes: Given, clusters: list[int] | None = None) -> TimedVotes:
    keys = sorted({key for key, *_ in votes})
    voters = sorted({(key, user) for key, user, *_ in votes})
    return TimedVotes(
        key=np.array([keys.index(key) for key, *_ in votes], np.int64),
        voter=np.array([voters.index((key, user)) for key, user, *_ in votes], np.int64),
        value=np.array([value for _, _, value, _ in votes], np.int64),
        cluster=np.array(clusters or [-1] * len(votes), np.int64),
        time=np.array([START + hours * HOUR for *_, hours in votes]),
        keys=[key for key, _ in voters],
        users=[user for _, user in voters],
    )


def month(seed: int = 0, users: int = 60, per_hour: int = 4) -> Given:
    """Thirty days of a key with mixed values."""
    rng = np.random.default_rng(seed)
    return [
        ("k1", f"user{rng.integers(users)}", int(rng.integers(3)), float(rng.uniform(0, 720)))
        for _ in range(720 * per_hour)
    ]


def brigade(accounts: int = 20, votes: int = 5, at: float = 700, length: float = 1, value: int = 1) -> Given:
    return [
        ("k1", f"fake{account}", value, at + (account * votes + vote) * length / (accounts * votes))
        for account in range(accounts)
        for vote in range(votes)
    ]


def held(votes: Given, clusters: list[int] | None = None, rules: BurstRules = RULES) -> set[str | None]:
    return {predicate.user for burst in find_bursts(timed(votes, clusters), rules) for predicate in burst.predicates}


def test_twenty_new_voters_who_say_one_thing_in_an_hour_are_a_burst() -> None:
    (burst,) = find_bursts(timed(month() + brigade()), RULES)
    assert {one.user for one in burst.predicates} == {f"fake{n}" for n in range(20)}
    assert {one.key for one in burst.predicates} == {"k1"}
    assert all(one.since and one.until is None for one in burst.predicates)
    assert "new voters say the same in 100% of their votes, other votes in 3" in burst.reason
    assert "in the hour from 2026-03-30 04:00" in burst.reason


def test_a_burst_across_the_full_hour_is_found() -> None:
    assert len(held(month() + brigade(accounts=12, votes=2, at=700.75, length=0.5))) == 12


@settings(max_examples=15)
@given(seed=st.integers(0, 200))
def test_an_honest_launch_day_is_no_burst(seed: int) -> None:
    rng = np.random.default_rng(seed)
    launch = [
        ("k2", f"new{rng.integers(400)}", int(rng.choice(3, p=[0.7, 0.2, 0.1])), 700 + float(rng.uniform(0, 24)))
        for _ in range(3000)
    ]
    assert held(month(seed) + launch) == set()
    assert held(launch) == set()


def test_a_launch_that_everybody_likes_is_no_burst() -> None:
    assert held([("k1", f"new{n % 300}", 1, n / 100) for n in range(2400)]) == set()


def test_known_users_who_vote_more_than_usual_are_no_burst() -> None:
    assert held(month() + [("k1", f"user{n % 60}", 1, 700 + n / 100) for n in range(100)]) == set()


def test_few_votes_or_few_voters_are_no_burst() -> None:
    assert held(month() + brigade(accounts=19, votes=1, at=700.01, length=0.4), rules=BurstRules(votes=40)) == set()
    assert held(month() + brigade(accounts=4, votes=20)) == set()


def test_a_slow_brigade_has_no_burst() -> None:
    assert held(month() + brigade(votes=2, at=690, length=24)) == set()


def test_a_burst_on_one_prompt_of_many_keys_is_found() -> None:
    usual = [(key, user, value, at) for n, (_, user, value, at) in enumerate(month()) for key in [f"k{n % 30}"]]
    attack = [(f"k{n % 30}", user, value, at) for n, (_, user, value, at) in enumerate(brigade(accounts=30, votes=1))]
    clusters = [n % 500 for n in range(len(usual))] + [7] * len(attack)
    assert held(usual + attack) == set()
    assert held(usual + attack, clusters) == {f"fake{n}" for n in range(30)}


def test_bursts_do_not_depend_on_the_order_of_votes() -> None:
    votes = month() + brigade()
    order = np.random.default_rng(1).permutation(len(votes))
    assert held([votes[n] for n in order]) == held(votes)


def test_no_votes_are_no_burst() -> None:
    assert held([]) == set()


def test_a_voter_is_in_one_burst_only() -> None:
    bursts = find_bursts(timed(month() + brigade(length=3, votes=20)), RULES)
    named = [{one.user for one in burst.predicates} for burst in bursts]
    assert all(not one & other for one, other in pairwise(named))
    assert set().union(*named) == {f"fake{n}" for n in range(20)}
