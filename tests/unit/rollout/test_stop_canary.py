"""Facts about a person who stops a canary: the champion stays, the run ends, and only its own evidence is held."""

import pytest

from core.db import live_tests
from core.errors import Conflict, NotReady
from rollout import canary_changes
from tests.support.race import twice_at_once
from tests.support.workflow import CANARY, RolloutHarness


@pytest.fixture
def harness() -> RolloutHarness:
    """Version 1 serves, version 2 is its canary."""
    made = RolloutHarness(canary=CANARY, holdback=None, limits={"window_hours": 0, "cooldown_hours": 0})
    made.candidate(1, "run-1")
    made.steps.promote_by_hand("m", 1, "ann", "start")
    made.offer(2, "run-2", over=1)
    assert made.promotion.route("m").canary == 2
    return made


def test_a_stopped_canary_leaves_the_champion_and_ends_its_run(harness: RolloutHarness):
    harness.live(1, 20, True)
    harness.live(2, 20, False)
    switch = canary_changes.stop(harness.promotion, "m", "ann", "wrong language")
    route = harness.promotion.route("m")
    assert (route.champion, route.canary, route.share) == (1, None, 0.0)
    assert switch.complete and harness.state("run-2") == "finished"
    assert live_tests.open_canaries(harness.store) == []
    last = harness.last()
    assert (last["verdict"], last["from_version"], last["to_version"]) == ("rejected", 1, 2)
    assert last["reason"] == "The canary was stopped by ann: wrong language"
    assert (last["actor"], last["trigger"], last["run_id"]) == ("ann", "person", "run-2")
    harness.watch.check_all()
    assert harness.last() == last


@pytest.mark.parametrize("keep_data", [False, True])
def test_votes_are_held_by_the_evidence_or_not_at_all(harness: RolloutHarness, keep_data: bool):
    harness.live(2, 20, False)
    canary_changes.stop(harness.promotion, "m", "ann", "", keep_data=keep_data)
    said = harness.last()["live"].get("quarantine")
    # Twenty users who vote once each are no burst.
    assert (said is None) if keep_data else (said is not None and said["id"] is None and said["reason"])


def test_what_is_not_the_canary_is_not_stopped(harness: RolloutHarness):
    with pytest.raises(Conflict, match="m@7 is not the canary of m; m@2 is"):
        canary_changes.stop(harness.promotion, "m", "ann", "", version=7)
    canary_changes.stop(harness.promotion, "m", "ann", "", version=2)
    with pytest.raises(NotReady, match="m has no canary"):
        canary_changes.stop(harness.promotion, "m", "ann", "")


def test_a_canary_that_waits_for_approval_can_be_stopped_too():
    harness = RolloutHarness(canary=CANARY, holdback=None, mode="approve")
    harness.offer()
    harness.live(0, 40, False)
    harness.live(1, 40, True)
    harness.watch.check_all()
    assert harness.state() == "awaiting_approval"
    canary_changes.stop(harness.promotion, "m", "ann", "a legal question")
    assert harness.state() == "finished" and harness.promotion.route("m").canary is None
    assert harness.verdicts()[-1] == "rejected"


def test_of_two_who_act_at_once_one_wins_and_the_other_gets_a_conflict(harness: RolloutHarness):
    before = harness.verdicts().count("rejected")
    failed = twice_at_once(lambda: canary_changes.stop(harness.promotion, "m", "ann", ""))
    assert len(failed) == 1 and isinstance(failed[0], (Conflict, NotReady)) and failed[0].status == 409
    assert harness.verdicts().count("rejected") == before + 1
