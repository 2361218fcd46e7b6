"""Facts about feedback on a conversation: whose it is, what it counts as, and that its flags hold for its answers."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import curation, feedback, heldout_votes
from core.db.store import Store
from core.records import Feedback, Revocation
from core.settings import ModelSettings
from feedback.erasure import Request, preview
from feedback.ingest import add, ingest
from feedback.snapshot import create_snapshot
from tests.support.apps import add_app
from tests.support.ingest import NOW, asked, pieces, query


def test_feedback_on_a_conversation_counts_for_the_model_that_answered_last() -> None:
    store = Store(":memory:")
    first = asked("i1", conversation="c 1", version=1)
    last = asked("i2", conversation="c 1", version=2, time=NOW + timedelta(minutes=1))
    vote = Feedback("f", NOW + timedelta(minutes=2), None, "c 1", "thumbs", True)
    ingest(store, "g", 1, 0, pieces(last, first, vote))
    assert query(store, "SELECT model, version FROM feedback") == [("m", 2)]
    (counted,) = feedback.counts(store, model="m", key=None)
    assert (counted["type"], counted["n"]) == ("thumbs", 1)
    assert feedback.count_waiting(store) == 0
    store.close()


@pytest.mark.parametrize("is_same", [True, False])
def test_feedback_before_its_conversation_waits_and_is_counted(is_same: bool) -> None:
    store = Store(":memory:")
    ingest(store, "g", 1, 0, pieces(Feedback("f", NOW, None, "c", "thumbs", True)))
    assert feedback.count_waiting(store) == 1
    assert [(row["type"], row["n"]) for row in feedback.waiting_by_type(store)] == [("thumbs", 1)]
    ingest(store, "g", 2, 0, pieces(asked("i", conversation="c" if is_same else "other")))
    assert query(store, "SELECT model FROM feedback") == [("m" if is_same else None,)]
    assert feedback.count_waiting(store) == (0 if is_same else 1)
    store.close()


@pytest.fixture
def store() -> Iterator[Store]:
    """Two conversations of two answers each, with a label and a correction on each answer by its user."""
    made = Store(":memory:")
    for talk, user in (("c1", "ada"), ("c2", "bob")):
        for n in range(2):
            id = f"{talk}-{n}"
            body = {"messages": [{"role": "user", "content": f"text {id}"}]}
            add(made, [asked(id, user=user, conversation=talk, time=NOW + timedelta(minutes=n), request=body)])
            add(made, [Feedback(f"label-{id}", NOW, id, None, "label", "a", user=user)])
            add(made, [Feedback(f"correction-{id}", NOW, id, None, "correction", "Better.", user=user)])
    yield made
    made.close()


def talk(id: str, kind: str, value: Any, user: str, conversation: str = "c1") -> Feedback:
    return Feedback(id, NOW, None, conversation, kind, value, user=user)


def snapshot(store: Store, folder: Path, task: str, **trust: Any) -> Any:
    split = {"train": 0.9, "dev": 0.05}
    settings = ModelSettings.model_validate(
        {"task": task, "split": split, "trust": trust, "retrain": {"rating_middle": 3}}
        | ({"labels": ["a", "b"]} if task == "classify" else {})
    )
    return create_snapshot(store, "m", settings, run_id="r", folder=folder, clock=lambda: NOW)


@pytest.mark.parametrize("task", ["classify", "generate"])
def test_votes_on_a_conversation_make_no_row_and_are_counted_by_name(store: Store, tmp_path: Path, task: str) -> None:
    before = snapshot(store, tmp_path, task)
    kinds = [("thumbs", True), ("label", "b"), ("correction", "text"), ("rating", 5)]
    add(store, [talk(f"t{n}", kind, value, "ada") for n, (kind, value) in enumerate(kinds)])
    after = snapshot(store, tmp_path, task)
    assert after.hash == before.hash
    reason = "about a conversation, not about one answer"
    left_out = [after.report.left_out.get(reason, 0), after.report.pairs.get("left_out", {}).get(reason, 0)]
    assert left_out == ([3, 0] if task == "classify" else [3, 3])
    for signal, _ in kinds:
        assert after.report.signals[signal] == before.report.signals.get(signal, 0) + 1
    assert sum(after.report.rows.values()) + sum(after.report.left_out.values()) == sum(after.report.signals.values())


@pytest.mark.parametrize("task", ["classify", "generate"])
@pytest.mark.parametrize(("by", "holds"), [("ada", True), ("eve", False)])
def test_a_flag_on_a_conversation_holds_for_each_of_its_answers(
    store: Store, tmp_path: Path, task: str, by: str, holds: bool
) -> None:
    assert len(snapshot(store, tmp_path, task).rows) == 4
    add(store, [talk("x", "flag", "private", by), talk("y", "flag", "other", "bob", "c2")])
    assert heldout_votes.flagged(store, model="m", flag_voters=2) == ({"c1-0", "c1-1"} if holds else set())
    made = snapshot(store, tmp_path, task, flag_voters=2)
    assert {row.interaction_id for row in made.rows} == (
        {"c2-0", "c2-1"} if holds else {"c1-0", "c1-1", "c2-0", "c2-1"}
    )
    assert len(made.pairs) == ((2 if holds else 4) if task == "generate" else 0)
    assert made.report.left_out.get("the answer is flagged unsafe or private", 0) == (2 if holds else 0)
    add(store, [Revocation("x", NOW + timedelta(days=1))])
    assert len(snapshot(store, tmp_path, task).rows) == 4


def test_several_others_flag_a_conversation_together(store: Store) -> None:
    add(store, [talk("x1", "flag", "unsafe", "eve"), talk("x2", "flag", "unsafe", "eve")])
    assert heldout_votes.flagged(store, model="m", flag_voters=2) == set()
    add(store, [talk("x3", "flag", "unsafe", "fay")])
    assert heldout_votes.flagged(store, model="m", flag_voters=2) == {"c1-0", "c1-1"}
    assert heldout_votes.flagged(store, model="other", flag_voters=2) == set()


@pytest.fixture
def shared() -> Iterator[Store]:
    """Two apps, `shop` with two keys and `bank` with one, that both call a conversation "1"."""
    made = Store(":memory:")
    for id, name in (("k0", "shop"), ("k1", "shop"), ("k2", "bank")):
        add_app(made, id, name)
    add(made, [asked("of-shop", user="ada", conversation="1", key_id="k0")])
    add(made, [asked("of-bank", user="bob", conversation="1", key_id="k2", time=NOW + timedelta(minutes=1))])
    yield made
    made.close()


@pytest.mark.parametrize(
    ("key", "meant"),
    [("k0", {"of-shop"}), ("k1", {"of-shop"}), ("k2", {"of-bank"}), (None, {"of-shop", "of-bank"})],
)
def test_a_flag_on_a_conversation_is_about_answers_to_its_own_app(
    shared: Store, key: str | None, meant: set[str]
) -> None:
    add(shared, [Feedback("x", NOW + timedelta(minutes=2), None, "1", "flag", "unsafe", key_id=key)])
    assert heldout_votes.flagged(shared, model="m", flag_voters=2) == meant


@pytest.mark.parametrize(("key", "erased"), [("k1", 1), ("k2", 0), (None, 1)])
def test_feedback_without_a_user_on_the_conversation_of_another_app_is_not_of_an_erased_user(
    shared: Store, key: str | None, erased: int
) -> None:
    add(shared, [Feedback("x", NOW, None, "1", "comment", "Hm.", key_id=key)])
    assert preview(shared, Request("ada"), NOW).counts["feedback"] == erased


@pytest.mark.parametrize(("key", "counted"), [("k1", ["x"]), ("k2", []), (None, ["x"])])
def test_a_vote_without_a_model_counts_for_conversations_of_its_own_app(
    shared: Store, key: str | None, counted: list[str]
) -> None:
    add(shared, [asked("other-model", model="other", conversation="2", key_id="k0")])
    add(shared, [Feedback("x", NOW, None, "2", "comment", "Hm.", key_id=key)])
    with shared.transaction() as transaction:
        transaction._connection.execute("UPDATE feedback SET model = NULL")
    assert curation.votes(shared, model="other", with_answers=True)["id"].to_pylist() == counted
