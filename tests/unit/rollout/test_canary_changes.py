"""Facts about a canary that a person pauses, resumes or widens: who serves, what counts, and at which level."""

import json
from datetime import timedelta
from typing import Any

import pytest

from core.db import live_tests
from core.errors import AlreadyDone, Conflict, NotReady
from core.ledger import verify_store
from rollout import canary_changes
from rollout.change_writer import DecisionContext
from rollout.live_plan import load_plan
from tests.support.race import twice_at_once
from tests.support.workflow import CANARY, RolloutHarness

FREE = {"limits": {"window_hours": 0, "cooldown_hours": 0}, "holdback": None}


@pytest.fixture
def harness() -> RolloutHarness:
    """Version 0 serves, version 1 is its canary for half of the users."""
    made = RolloutHarness(canary=CANARY, **FREE)
    made.offer()
    return made


def pause(harness: RolloutHarness, comment: str = "an outage elsewhere") -> None:
    canary_changes.pause(harness.promotion, "m", "ann", comment)


def resume(harness: RolloutHarness) -> None:
    canary_changes.resume(harness.promotion, "m", harness.models["m"], "ann", "")


def set_share(harness: RolloutHarness, share: float) -> None:
    canary_changes.set_share(harness.promotion, "m", harness.models["m"], share, "ann", "")


def running(harness: RolloutHarness) -> dict[str, Any]:
    (row,) = live_tests.open_canaries(harness.store)
    return row


def level(harness: RolloutHarness) -> float:
    row, settings = running(harness), harness.models["m"].promotion.canary
    assert settings
    return load_plan(row["plan"], settings, row["share"], row["score_sd"]).plan.alpha


def test_while_a_canary_is_paused_nobody_gets_it_and_nothing_is_decided(harness: RolloutHarness) -> None:
    pause(harness)
    route = harness.promotion.route("m")
    assert (route.champion, route.canary, route.share, route.holdback) == (0, 1, 0.0, 0.0)
    said = harness.last()
    assert (said["verdict"], said["to_version"], said["run_id"]) == ("canary_paused", 1, "run-1")
    assert said["reason"] == (
        "The canary was paused by ann: an outage elsewhere. m@0 serves everyone until it is resumed."
    )
    harness.live(0, 40, False)
    harness.live(1, 40, True)
    harness.now += timedelta(days=3)  # far past the limit of one hour
    harness.watch.check_all()
    assert harness.last() == said and harness.state() == "canary"


def test_a_resumed_canary_counts_from_zero_with_its_share_and_half_the_level(harness: RolloutHarness) -> None:
    harness.live(0, 40, True)
    harness.live(1, 40, False)  # the canary would be rolled back for this
    first, salt = level(harness), harness.promotion.route("m").salt
    pause(harness)
    harness.now += timedelta(hours=5)
    resume(harness)
    route = harness.promotion.route("m")
    assert (route.canary, route.share) == (1, 0.5) and route.salt != salt
    assert level(harness) == first / 2 and running(harness)["started"] == harness.now
    assert (
        harness.last()["verdict"] == "canary_resumed" and harness.last()["live"]["plan"]["plan"]["alpha"] == first / 2
    )
    harness.watch.check_all()
    assert harness.state() == "canary"
    harness.live(0, 40, False)
    harness.live(1, 40, True)
    harness.watch.check_all()
    assert harness.promotion.route("m").champion == 1
    assert verify_store(harness.store).ok


def test_a_resumed_canary_shows_the_looks_of_its_own_count(harness: RolloutHarness) -> None:
    harness.live(0, 40, True)
    harness.watch.check_all()
    assert (running(harness)["looks"], running(harness)["looked"]) == (1, harness.now)
    pause(harness)
    harness.now += timedelta(hours=5)
    resume(harness)
    row = running(harness)
    assert (row["looks"], row["looked"], row["numbers"]) == (1, None, None)
    assert live_tests.looks(harness.store, run_id="run-1", most=10, newest=1) == []
    harness.watch.check_all()
    (look,) = live_tests.looks(harness.store, run_id="run-1", most=10, newest=1)
    row = running(harness)
    assert (look["look"], row["looks"]) == (2, 2) and look["body"] == row["numbers"]


def test_a_resumed_canary_that_does_harm_is_still_rolled_back(harness: RolloutHarness) -> None:
    pause(harness)
    resume(harness)
    harness.live(0, 60, True)
    harness.live(1, 60, False)
    harness.watch.check_all()
    assert harness.promotion.route("m").canary is None and harness.promotion.route("m").champion == 0


def test_a_changed_share_begins_the_count_again_and_each_count_halves_the_level(harness: RolloutHarness) -> None:
    first = level(harness)
    set_share(harness, 0.1)
    assert harness.promotion.route("m").share == running(harness)["share"] == 0.1
    assert level(harness) == first / 2
    said = harness.last()
    assert said["verdict"] == "share_changed"
    assert said["reason"] == (
        "The canary was set from 50% of users by ann. It serves 10% of users. Its count begins from zero, at the level "
        f"{first / 2:g}."
    )
    set_share(harness, 0.2)
    assert level(harness) == first / 4
    plan = json.loads(running(harness)["plan"])
    assert plan["plan"]["share"] == plan["settings"]["share"] == 0.2


def test_what_cannot_be_done_says_why(harness: RolloutHarness) -> None:
    with pytest.raises(NotReady, match="not paused"):
        resume(harness)
    with pytest.raises(AlreadyDone, match="already serves 50% of users"):
        set_share(harness, 0.5)
    with pytest.raises(Conflict, match="m@7 is not the canary"):
        canary_changes.pause(harness.promotion, "m", "ann", "", version=7)
    pause(harness)
    with pytest.raises(AlreadyDone, match="already paused"):
        pause(harness)
    with pytest.raises(NotReady, match="is paused"):
        set_share(harness, 0.2)
    canary_changes.stop(harness.promotion, "m", "ann", "")
    assert harness.promotion.route("m").canary is None and harness.state() == "finished"
    for act in (pause, resume):
        with pytest.raises(NotReady, match="has no canary"):
            act(harness)


def test_a_canary_that_waits_for_approval_is_not_paused() -> None:
    harness = RolloutHarness(canary=CANARY, mode="approve", **FREE)
    harness.offer()
    harness.live(0, 40, False)
    harness.live(1, 40, True)
    harness.watch.check_all()
    assert harness.state() == "awaiting_approval"
    with pytest.raises(NotReady, match="waits for approval"):
        pause(harness)


def test_an_anchored_canary_keeps_its_third_arm_when_it_is_resumed() -> None:
    harness = RolloutHarness(canary=CANARY, **FREE)
    harness.offer()
    # Version 1 serves without proof that it is better than version 0, the anchor.
    harness.live(0, 40, True)
    harness.live(1, 40, True)
    harness.now += timedelta(minutes=5)
    harness.candidate(2, "run-2")
    canary_changes.stop(harness.promotion, "m", "ann", "", keep_data=True)
    harness.promotion.promote("m", 1, DecisionContext("won", "test"), is_anchor=False)
    harness.steps.passed_offline("m", 2, 1, DecisionContext("won", "test", run_id="run-2"))
    before = harness.promotion.route("m")
    assert before.canary == 2 and before.holdback > 0
    pause(harness)
    assert harness.promotion.route("m").holdback == 0
    resume(harness)
    after = harness.promotion.route("m")
    assert (after.share, after.holdback, after.anchor) == (before.share, before.holdback, before.anchor)
    plan = json.loads(running(harness)["plan"])
    assert plan["anchor"]["version"] == 0 and plan["anchor"]["plan"]["share"] != plan["settings"]["share"]


def test_of_two_who_pause_at_once_one_wins(harness: RolloutHarness) -> None:
    (failed,) = twice_at_once(lambda: pause(harness))
    assert isinstance(failed, (Conflict, AlreadyDone)) and failed.status == 409
    assert harness.verdicts().count("canary_paused") == 1
