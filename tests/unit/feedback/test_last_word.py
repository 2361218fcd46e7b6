"""Facts about feedback that is given again and taken back, by any key of an app and in any order."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api_key_store import ApiKeyStore, NewKey
from core.api_keys import Scope
from core.db import feedback
from core.db.store import Store
from core.record_codec import Record
from core.records import Feedback, Revocation
from feedback.ingest import ingest, insert
from feedback.schema import kept_id
from tests.support.ingest import NOW, asked, pieces, query

ROWS = "SELECT id, value, time, user_id, comment, interaction_id, model, revoked_at FROM feedback ORDER BY id"
HISTORY = "SELECT feedback_id, value, first, last FROM feedback_history ORDER BY feedback_id, first, last, value"


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    yield store
    store.close()


def at(minute: int) -> datetime:
    return NOW + timedelta(minutes=minute)


def naive(minute: int) -> datetime:
    return at(minute).replace(tzinfo=None)


def label(value: str, minute: int, identity: str = "f", about: str = "i", **fields: Any) -> Feedback:
    return Feedback(identity, at(minute), about, None, "label", value, **fields)


def add(store: Store, *records: Record) -> None:
    with store.transaction() as transaction:
        insert(transaction, records)


def test_the_last_word_under_an_id_counts_and_the_one_before_is_kept(store: Store) -> None:
    add(store, asked("i"), label("a", 1, user="ada"))
    add(store, label("b", 2, user="ada", comment="after all"))
    ((_, value, time, user, comment, _, model, revoked),) = query(store, ROWS)
    assert (value, time, user, comment, model, revoked) == ('"b"', naive(2), "ada", "after all", "m", None)
    assert query(store, HISTORY) == [("f", '"a"', naive(1), naive(1)), ("f", '"b"', naive(2), naive(2))]


def test_the_same_word_again_keeps_its_first_time(store: Store) -> None:
    add(store, label("a", 1))
    arrived = query(store, "SELECT arrived FROM feedback")
    add(store, label("a", 5))
    assert [row[2] for row in query(store, ROWS)] == [naive(1)]
    assert query(store, "SELECT arrived FROM feedback") == arrived
    assert query(store, HISTORY) == [("f", '"a"', naive(1), naive(5))]


def test_the_same_record_again_leaves_nothing(store: Store) -> None:
    for _ in range(3):
        add(store, label("a", 1))
    assert query(store, HISTORY) == []


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_words_in_any_order_end_in_one_state(store: Store, order: tuple[int, ...]) -> None:
    said = [label("a", 1), label("b", 2), label("a", 3), Revocation("f", at(0))]
    add(store, asked("i"))
    for place in order:
        add(store, said[place])
    assert [row[1:3] for row in query(store, ROWS)] == [('"a"', naive(3))]
    assert query(store, "SELECT revoked_at FROM feedback") == [(None,)]
    assert query(store, HISTORY) == [("f", '"a"', naive(1), naive(3)), ("f", '"b"', naive(2), naive(2))]


def test_a_word_may_move_to_another_answer_that_arrives_later(store: Store) -> None:
    add(store, asked("i"), label("a", 1))
    add(store, label("a", 2, about="j"))
    assert [row[5:7] for row in query(store, ROWS)] == [("j", None)]
    add(store, asked("j", model="other"))
    assert [row[5:7] for row in query(store, ROWS)] == [("j", "other")]


def test_what_is_taken_back_may_be_said_again(store: Store) -> None:
    add(store, label("a", 1))
    add(store, Revocation("f", at(2)))
    assert query(store, "SELECT revoked_at FROM feedback") == [(naive(2),)]
    add(store, label("a", 3))
    assert query(store, "SELECT value, revoked_at FROM feedback") == [('"a"', None)]
    add(store, Revocation("f", at(4)))
    assert query(store, "SELECT revoked_at FROM feedback") == [(naive(4),)]


SAID = st.lists(
    st.tuples(st.sampled_from(["f", "g"]), st.sampled_from(["a", "b", "c"]), st.integers(0, 5)).map(
        lambda each: label(each[1], each[2], each[0])
    )
    | st.tuples(st.sampled_from(["f", "g", "h"]), st.integers(0, 5)).map(lambda each: Revocation(each[0], at(each[1]))),
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(SAID, st.randoms(), st.integers(1, 4))
def test_any_order_and_any_number_of_times_give_the_same_tables(said: list[Any], random: Any, size: int) -> None:
    states = []
    for order in (said, random.sample(said, len(said)) + random.sample(said, len(said) // 2)):
        store = Store(":memory:")
        step = len(order) if order is said else size
        for first in range(0, len(order), max(1, step)):
            data = pieces(*order[first : first + step])
            ingest(store, "g", first, 0, data)
        states.append((query(store, ROWS), query(store, HISTORY), feedback.count_unmet_revocations(store)))
        store.close()
    assert states[0] == states[1]


@pytest.fixture
def keys(store: Store) -> dict[str, str]:
    """The ids of two keys of one app, one after the other, and of another app's."""
    ring = ApiKeyStore(store=store, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    names = {"first": "shop", "next": "shop", "other": "forum"}
    return {name: ring.make(NewKey(app, (Scope.FEEDBACK,)), "test").id for name, app in names.items()}


@pytest.mark.parametrize("own", ["order/17", "fb-1"])
@pytest.mark.parametrize("is_first", [True, False])
def test_an_apps_next_key_takes_back_what_its_first_key_gave(
    store: Store, keys: dict[str, str], own: str, is_first: bool
) -> None:
    kept = own if own.startswith("fb-") else kept_id(keys["first"], own)
    vote = label("a", 1, kept, key_id=keys["first"])
    back = Revocation(own, at(2), keys["next"], keys["next"])
    for record in (vote, back) if is_first else (back, vote):
        add(store, record)
    assert query(store, "SELECT id, revoked_at FROM feedback") == [(kept, naive(2))]
    assert feedback.count_unmet_revocations(store) == 0


def test_another_apps_key_takes_nothing_back(store: Store, keys: dict[str, str]) -> None:
    add(store, label("a", 1, kept_id(keys["first"], "1"), key_id=keys["first"]), label("b", 1, "fb-1", key_id="x"))
    for own in ("1", "fb-1", kept_id(keys["first"], "1")):
        add(store, Revocation(own, at(2), keys["other"], keys["other"]))
    assert query(store, "SELECT DISTINCT revoked_at FROM feedback") == [(None,)]
    assert feedback.count_unmet_revocations(store) == 3


def test_a_request_that_takes_nothing_back_is_counted_once_until_it_meets_its_feedback(
    store: Store, keys: dict[str, str]
) -> None:
    first = keys["first"]
    for minute in (1, 2):
        add(store, Revocation("typo", at(minute), first, first))
    add(store, Revocation("late", at(1), None, first))
    assert feedback.count_unmet_revocations(store) == 2
    assert [row["asked"] for row in feedback.unmet_revocations(store)] == [f"{first} typo", f"{first} late"]
    add(store, label("a", 0, kept_id(first, "late"), key_id=first))
    assert feedback.count_unmet_revocations(store) == 1


@pytest.mark.parametrize("is_first", [True, False])
def test_a_key_that_may_use_one_model_has_no_vote_on_another(store: Store, is_first: bool) -> None:
    ring = ApiKeyStore(store=store, clock=lambda: NOW)
    key = ring.make(NewKey("shop", (Scope.FEEDBACK,), models=("a",)), "test").id
    votes = [label("x", 1, f"f{model}", f"i{model}", key_id=key) for model in "ab"]
    answers = [asked(f"i{model}", model=model) for model in "ab"]
    for record in (*votes, *answers) if is_first else (*answers, *votes):
        add(store, record)
    state = [("fa", "a", None), ("fb", "b", naive(1))]
    assert query(store, "SELECT id, model, revoked_at FROM feedback ORDER BY id") == state
    add(store, label("x", 2, "fb", "ib", key_id=key))
    assert query(store, "SELECT revoked_at FROM feedback WHERE id = 'fb'") == [(naive(2),)]
    assert feedback.count_unmet_revocations(store) == 0
