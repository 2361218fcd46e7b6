"""Facts about an app whose key was replaced by one of the same name: its user is one voter."""

from datetime import UTC, datetime, timedelta

from core.db import curation
from core.db.store import Store
from core.records import Feedback, Revocation
from core.settings import ModelSettings
from feedback.ingest import add
from feedback.snapshot import curate_store
from tests.support.apps import add_app
from tests.support.curation import user_in
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
ADA = user_in("train")
MODEL = ModelSettings(labels=["good", "bad"])


def store_with(*votes: Feedback | Revocation) -> Store:
    """A store with one answer, two keys of one name, a key of another name, and these votes."""
    store = Store(":memory:")
    for number, name in enumerate(("shop", "shop", "other")):
        add_app(store, f"k{number}", name)
    asked = interaction(
        "i",
        time=NOW,
        model="reviews",
        user=ADA,
        answer="good",
        request={"messages": [{"role": "user", "content": "The hinge broke."}]},
    )
    add(store, [asked, *votes])
    return store


def label(number: int, said: str, key: str) -> Feedback:
    return Feedback(f"f{number}", NOW + timedelta(seconds=number), "i", None, "label", said, user=ADA, key_id=key)


def rows(store: Store) -> list[tuple[str, str, str]]:
    found = curate_store(store, "reviews", MODEL).rows.to_pylist()
    return [(row["feedback_id"], row["label"], row["key_id"]) for row in found]


def test_the_next_keys_label_replaces_that_of_the_key_before() -> None:
    store = store_with(label(1, "bad", "k0"), label(2, "good", "k1"))
    assert rows(store) == [("f2", "good", "k1")]
    assert curate_store(store, "reviews", MODEL).reasons() == {"replaced by the voter's later label": 1}


def test_a_label_of_the_key_before_stays_replaced_when_the_later_one_is_taken_back() -> None:
    store = store_with(label(1, "bad", "k0"), label(2, "good", "k1"), Revocation("f2", NOW))
    assert rows(store) == []
    assert curate_store(store, "reviews", MODEL).reasons() == {"the voter took a later label back": 1}


def test_another_app_is_another_voter() -> None:
    store = store_with(label(1, "bad", "k0"), label(2, "good", "k2"))
    assert [feedback for feedback, _, _ in rows(store)] == ["f1", "f2"]
    assert curation.votes(store, model="reviews", with_answers=True)["app"].to_pylist() == ["k0", "k2"]
