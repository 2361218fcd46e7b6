"""Facts about the votes that a quarantine holds, in every order of votes, answers and quarantines."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.db import erasures
from core.db.quarantines import Predicate
from core.db.store import Store
from core.records import Feedback
from feedback import quarantine
from feedback.ingest import add
from tests.support.ingest import asked

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
USERS, KEYS, MODELS, ANSWERS = ("ann", "bob", None), ("shop", "app", None), ("m", "other"), ("a", "b", "c")
moments = st.one_of(st.none(), st.integers(0, 5).map(lambda hours: NOW + timedelta(hours=hours)))
predicates = (
    st.builds(Predicate, st.sampled_from(KEYS), st.sampled_from(USERS), moments, moments)
    .filter(lambda one: one != Predicate())
    .filter(lambda one: one.since is None or one.until is None or one.since < one.until)
)
names = st.sampled_from(ANSWERS)
votes = st.tuples(st.just("vote"), names, st.sampled_from(USERS), st.sampled_from(KEYS), st.integers(0, 5))
pairs = st.tuples(st.just("pair"), names, st.sampled_from(USERS), st.sampled_from(KEYS), st.integers(0, 5))
answers = st.tuples(st.just("answer"), names)
holds = st.tuples(st.just("hold"), st.sampled_from(MODELS), st.lists(predicates, min_size=1, max_size=2))
releases = st.tuples(st.just("release"))
ASKED = {"a": ("m", "ann"), "b": ("other", "bob"), "c": ("m", None)}


def vote(kind: str, number: int, about: str, user: str | None, key: str | None, hour: int) -> Feedback:
    plain: dict[str, Any] = {"conversation_id": None, "time": NOW + timedelta(hours=hour), "user": user, "key_id": key}
    if kind == "vote":
        return Feedback(str(number), interaction_id=about, type="thumbs", value=True, **plain)
    pair = {"chosen": about, "rejected": "none"}
    return Feedback(str(number), interaction_id=None, type="preference", value=pair, **plain)


def fits(one: Predicate, said: Feedback, asker: str | None) -> bool:
    """What a predicate means, written once more."""
    return (
        (one.user is None or one.user == (said.user or asker))
        and (one.key is None or one.key == said.key_id)
        and (one.since is None or said.time >= one.since)
        and (one.until is None or said.time < one.until)
    )


def named(kind: str, events: list[Any]) -> Iterator[Any]:
    return (event[1:] for event in events if event[0] == kind)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(votes, pairs, answers, holds, releases), max_size=12))
def test_a_quarantine_holds_what_fits_whichever_comes_first(events: list[Any]) -> None:
    store = Store(":memory:")
    numbers, given, held = count(), [], {}
    for kind, *rest in events:
        if kind in ("vote", "pair"):
            given.append(vote(kind, next(numbers), *rest))
            add(store, given[-1:])
        elif kind == "answer":
            model, user = ASKED[rest[0]]
            add(store, [asked(rest[0], time=NOW, model=model, user=user, request=None)])
        elif kind == "hold":
            id = f"q{len(held)}"
            held[id] = (rest[0], rest[1])
            with store.transaction() as transaction:
                quarantine.hold(transaction, rest[0], quarantine.Hold(id, tuple(rest[1])), decision_id="d", time=NOW)
        elif held:
            id, _ = held.popitem()
            held[id] = ("released", [])
            with store.transaction() as transaction:
                if quarantine.find(transaction, id)["state"] == "held":
                    quarantine.decide(transaction, id, "released", actor="ann", comment="", time=NOW)
    known = {name for (name,) in named("answer", events)}
    expected = {
        said.id
        for said in given
        for about in (said.interaction_id or said.value["chosen"],)
        if about in known
        for model, all_of in held.values()
        if model == ASKED[about][0] and any(fits(one, said, ASKED[about][1]) for one in all_of)
    }
    with store._cursor() as cursor:
        found = {row[0] for row in cursor.execute("FROM quarantined_feedback").fetchall()}
    store.close()
    assert found == expected


def test_an_erased_name_is_gone_from_votes_that_stay() -> None:
    store = Store(":memory:")
    add(store, [asked("a", time=NOW, model="m", user="ann", request=None), vote("vote", 1, "a", None, "shop", 0)])
    with store.transaction() as transaction:
        quarantine.hold(transaction, "m", quarantine.Hold("q", (Predicate("shop"),)), decision_id="d", time=NOW)
        erasures.erase_name(transaction, user="ann", user_hash="h")
    with store._cursor() as cursor:
        assert cursor.execute("SELECT feedback_id, voter FROM quarantine_rows").fetchall() == [("1", None)]
    store.close()
