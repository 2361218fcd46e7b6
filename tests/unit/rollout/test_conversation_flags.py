"""Facts about flags on conversations as harm in live tests."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from core.db.store import Store
from core.records import Feedback
from feedback import ingest
from rollout.live_monitor import count_arms
from tests.unit.rollout.test_arm_counts import CANARY, START, fill, harmed


@pytest.fixture
def store() -> Iterator[Store]:
    found = Store(":memory:")
    yield found
    found.close()


def test_a_flag_on_a_conversation_is_one_on_its_last_answer_of_the_version(store: Store):
    fill(store, [(1, "d0", None)], conversation="talk", time=START + timedelta(seconds=30))
    fill(store, [(2, "c0", None), (2, "c0", None)], conversation="talk")
    fill(store, [(2, "c1", None)], conversation="other")
    fill(store, [(2, "c2", None)])

    def on_talk(voter: str, talk: str = "talk") -> None:
        said = Feedback(f"{voter}{talk}", START + timedelta(minutes=3), None, talk, "flag", "unsafe", user=voter)
        ingest.add(store, [said])

    for voter in ("x", "y"):
        on_talk(voter)
    assert harmed(store) == 0
    on_talk("z")
    assert harmed(store) == 1
    on_talk("c1", "other")
    assert harmed(store) == 2
    on_talk("c2", "unknown")
    assert harmed(store) == 2
    control, _ = count_arms(store, CANARY, harm_voters=3)
    assert control.harmed == 0


def test_a_flag_on_a_conversation_harms_no_other_model_and_no_other_app(store: Store):
    def on_talk(id: str, talk: str, key: str) -> None:
        said = Feedback(id, START + timedelta(minutes=3), None, talk, "flag", "unsafe", key_id=key)
        ingest.add(store, [said])

    fill(store, [(2, "c0", None)], conversation="1", key_id="shop")
    later = START + timedelta(minutes=2)
    fill(store, [(2, "other", None)], conversation="1", key_id="shop", model="other", time=later)
    on_talk("x0", "1", "shop")  # the last answer is of version 2 of another model
    assert harmed(store) == 0
    fill(store, [(2, "c1", None)], conversation="2", key_id="shop")
    on_talk("x1", "2", "bank")
    assert harmed(store) == 0
    on_talk("x2", "2", "shop")
    assert harmed(store) == 1


def test_two_flags_of_one_moment_on_two_conversations_harm_two_askers(store: Store):
    fill(store, [(2, "c0", None)], conversation="1")
    fill(store, [(2, "c1", None)], conversation="2")
    moment = START + timedelta(minutes=3)
    ingest.add(store, [Feedback(f"x{talk}", moment, None, talk, "flag", "unsafe", key_id="shop") for talk in "12"])
    assert harmed(store) == 2
