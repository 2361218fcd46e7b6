"""Facts about new feedback: what counts towards the next run, by arrival and never by a client's clock."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.db import feedback, quarantines, runs
from core.db.store import Store
from core.records import Feedback, Interaction, Revocation
from feedback.ingest import add
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    add(opened, [asked(n) for n in range(20)])
    yield opened
    opened.close()


def asked(number: int) -> Interaction:
    return interaction(
        f"i{number}", time=NOW, user=f"u{number}", request={"messages": [{"role": "user", "content": "x"}]}
    )


def said(id: str, about: int, type: str = "label", value: Any = "a", **more: Any) -> Feedback:
    return replace(Feedback(id, NOW, f"i{about}", None, type, value), **more)


def new(store: Store, truth: str = "label") -> tuple[int, int]:
    answers = feedback.count_since_last_run(store, model="m", truth=truth)
    return answers, feedback.voters_since_last_run(store, model="m", truth=truth)


def run(store: Store, name: str = "r1") -> None:
    until = feedback.newest_arrival(store, model="m")
    assert until is not None
    runs.add(store, id=name, model="m", trigger="t", state="finished", started=NOW, feedback_until=until)


def test_only_feedback_that_says_the_right_answer_counts(store: Store) -> None:
    other = [("comment", "hm"), ("thumbs", False), ("thumbs", True), ("flag", "other"), ("rating", 3)]
    add(store, [said(f"c{n}", 1, type, value) for n, (type, value) in enumerate(other * 40)])
    assert new(store) == (0, 0)
    add(store, [said("l1", 1), said("l2", 2), said("k1", 3, "correction", "text")])
    assert new(store) == (2, 2)
    assert new(store, "correction") == (1, 1)


def test_one_voter_who_labels_everything_is_one_voter(store: Store) -> None:
    add(store, [said(f"l{n}", n, user="ada") for n in range(10)])
    assert new(store) == (10, 1)


@pytest.mark.parametrize("years", [-20, 20])
def test_a_clients_clock_changes_nothing(store: Store, years: int) -> None:
    add(store, [said("l1", 1, time=NOW + timedelta(days=365 * years))])
    run(store)
    assert new(store) == (0, 0)
    add(store, [said("l2", 2, time=NOW - timedelta(days=3650))])
    assert new(store) == (1, 1)


def test_saying_the_same_again_adds_nothing_and_a_changed_mind_does(store: Store) -> None:
    add(store, [said("l1", 1)])
    run(store)
    add(store, [said("l2", 1), said("l3", 1)])
    assert new(store)[0] == 0
    add(store, [said("l4", 1, value="b")])
    assert new(store)[0] == 1


def test_a_vote_that_waits_for_its_answer_counts_when_that_arrives(store: Store) -> None:
    add(store, [said("early", 30), said("l1", 1)])
    run(store)
    add(store, [asked(30)])
    assert new(store) == (1, 1)


def test_what_was_revoked_or_is_in_quarantine_does_not_count(store: Store) -> None:
    add(store, [said("l1", 1), said("l2", 2), Revocation("l1", NOW)])
    assert new(store) == (1, 1)
    with store.transaction() as transaction:
        quarantines.add(transaction, id="q", model="m", version=1, decision_id="d", time=NOW)
        quarantines.add_predicates(transaction, id="q", predicates=[quarantines.Predicate(user="u2")])
    assert feedback.voters_since_last_run(store, model="m", truth="label") == 0
