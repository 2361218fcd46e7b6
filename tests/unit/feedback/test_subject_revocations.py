"""Facts about taking back what a user said about an interaction, without the ids of the feedback."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db.store import Store
from core.errors import InputError
from core.record_codec import Record
from core.records import Feedback, Revocation
from feedback.ingest import add, ingest
from feedback.schema import parse_of_user
from tests.support.ingest import NOW, asked, pieces, query

LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "s.duckdb")
    yield found
    found.close()


def vote(identity: str, about: str = "i", user: str | None = "u", key: str | None = "k", **changes: Any) -> Feedback:
    return Feedback(identity, changes.pop("time", NOW), about, None, "thumbs", True, user=user, key_id=key)


def taken_back(about: str = "i", user: str = "u", key: str | None = "k", time: Any = LATER) -> Revocation:
    return Revocation("", time, key, key or "ops", about, user)


def revoked(store: Store) -> list[str]:
    return [id for (id,) in query(store, "SELECT id FROM feedback WHERE revoked_at IS NOT NULL ORDER BY id")]


def test_everything_the_user_said_about_the_interaction_is_taken_back_and_nothing_else(store: Store) -> None:
    add(store, [asked("i"), asked("j"), vote("f1"), vote("f2"), vote("other-user", user="v"), vote("other", "j")])
    add(store, [taken_back()])
    assert revoked(store) == ["f1", "f2"]


@pytest.mark.parametrize("later", [True, False])
def test_the_order_of_arrival_does_not_matter(store: Store, later: bool) -> None:
    records: list[Record] = [vote("f"), taken_back()]
    for n, record in enumerate(records[::-1] if later else records):
        ingest(store, f"g{n}", 1, 0, pieces(record))
    assert revoked(store) == ["f"]


def test_what_is_said_after_the_request_counts(store: Store) -> None:
    add(store, [taken_back(), vote("before"), vote("after", time=LATER + timedelta(seconds=1))])
    assert revoked(store) == ["before"]


def test_another_key_takes_nothing_back_and_one_of_ops_anything(store: Store) -> None:
    add(store, [vote("f"), taken_back(key="k2")])
    assert revoked(store) == []
    add(store, [taken_back(key=None)])
    assert revoked(store) == ["f"]


@pytest.mark.parametrize("later", [True, False])
def test_feedback_without_a_user_is_by_the_user_of_the_interaction(store: Store, later: bool) -> None:
    add(store, [vote("unnamed", user=None), taken_back(), asked("i", user="u")][:: -1 if later else 1])
    assert revoked(store) == ["unnamed"]


def test_ingesting_the_request_twice_changes_nothing(store: Store) -> None:
    add(store, [vote("f"), taken_back()])
    before = query(store, "SELECT * FROM revocations")
    ingest(store, "g", 1, 0, pieces(taken_back()))
    assert query(store, "SELECT * FROM revocations") == before


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"interaction_id": "i"}, "user"),
        ({"user": "u"}, "interaction_id"),
        ({"interaction_id": "i", "user": ""}, "user"),
        ({"interaction_id": "i", "user": 7}, "user"),
        ({"interaction_id": "i", "user": "u", "id": "x"}, "id"),
        ([], "dictionary"),
    ],
)
def test_a_body_that_names_less_or_more_is_refused_with_the_field(body: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_of_user(body)
