"""Facts about new feedback: what counts towards the next run, by arrival and never by a client's clock."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.db import feedback, new_votes, quarantines, runs
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
    found = new_votes.count(store, model="m", types=[truth])
    assert found.answers <= new_votes.at_most(store, [new_votes.Asked("m", [truth])])[0]
    return found.answers, found.voters


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
    assert new(store) == (0, 0)
    assert new_votes.at_most(store, [new_votes.Asked("m", ["label"])]) == [0]


def prefers(id: str, chosen: int, rejected: int, **more: Any) -> Feedback:
    return Feedback(id, NOW, None, None, "preference", {"chosen": f"i{chosen}", "rejected": f"i{rejected}"}, **more)


def pairs(store: Store) -> tuple[int, int]:
    found = new_votes.count(store, model="m", types=["preference", "correction"], compares=True)
    assert found.answers <= new_votes.at_most(store, [new_votes.Asked("m", ["preference", "correction"])])[0]
    return found.answers, found.voters


def test_a_preference_counts_for_the_model_of_its_answers(store: Store) -> None:
    add(store, [interaction("o1", model="other"), interaction("o2", model="other")])
    add(store, [prefers("p1", 1, 2), prefers("p2", 4, 3, user="ada")])
    add(store, [Feedback("p3", NOW, None, None, "preference", {"chosen": "o1", "rejected": "o2"})])
    assert pairs(store) == (2, 2)


def test_preferences_that_a_run_has_used_are_not_new_and_a_changed_mind_is(store: Store) -> None:
    add(store, [said("l1", 1)])
    add(store, [prefers("p1", 1, 2, user="ada"), prefers("p2", 3, 4, user="ada")])
    run(store)
    assert pairs(store) == (0, 0)
    add(store, [prefers("p3", 1, 2, user="ada"), prefers("p4", 4, 3, user="ada")])
    assert pairs(store) == (1, 1)


@pytest.mark.parametrize("order", [("a40", "a41"), ("a41", "a40")])
def test_a_preference_before_its_answers_waits_and_counts_once_they_are_there(
    store: Store, order: tuple[str, str]
) -> None:
    early = prefers("p1", 1, 2, user="ada")
    add(store, [replace(early, value={"chosen": "a40", "rejected": "a41"}), said("l1", 1)])
    assert feedback.count_waiting(store) == 1
    assert [(row["type"], row["n"]) for row in feedback.waiting_by_type(store)] == [("preference", 1)]
    run(store)
    assert pairs(store) == (0, 0)
    for waiting, id in zip([1, 0], order, strict=True):
        add(store, [interaction(id, user="bob")])
        assert feedback.count_waiting(store) == waiting
    assert pairs(store) == (1, 1)
    run(store, "r2")
    assert pairs(store) == (0, 0)
    add(store, [interaction("other")])
    assert pairs(store) == (0, 0)


def test_a_preference_with_its_answers_in_one_piece_waits_for_nothing(store: Store) -> None:
    both = [interaction("a40"), interaction("a41")]
    add(store, [replace(prefers("p1", 1, 2), value={"chosen": "a40", "rejected": "a41"}), *both])
    assert feedback.count_waiting(store) == 0 and pairs(store)[0] == 1


def test_a_correction_is_a_pair_only_with_the_answer_that_it_corrects(store: Store) -> None:
    add(store, [replace(asked(40), answer=None)])
    add(store, [said("k1", 1, "correction", "better"), said("k2", 40, "correction", "better")])
    assert pairs(store) == (1, 1)
    assert new(store, "correction") == (2, 2)


def test_a_rating_counts_if_it_is_not_the_middle_of_the_scale(store: Store) -> None:
    add(store, [said("t1", 1, "thumbs", True), said("r1", 2, "rating", 3), said("r2", 3, "rating", 4.5)])
    rated = ["thumbs", "rating"]
    assert new_votes.count(store, model="m", types=rated, middle=3).answers == 2
    assert new_votes.count(store, model="m", types=rated, middle=None).answers == 1


def test_a_vote_that_names_nobody_is_by_the_user_of_its_answer(store: Store) -> None:
    add(store, [said(f"l{n}", n, user=f"voter{n}") for n in range(3)] + [said(f"l{n}", n) for n in range(3, 6)])
    assert new(store) == (6, 6)
    add(store, [said("named", 8, user="u7"), said("unnamed", 7), said("late", 41)])
    assert new(store) == (8, 7)  # the vote of u7 and the vote on the answer to u7
    add(store, [asked(41)])
    assert new(store) == (9, 8)
