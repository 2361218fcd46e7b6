"""Facts about the anchor: which version it is after each kind of change, and what a canary does with it."""

import json
from datetime import timedelta
from typing import Any

import pytest

from core.db import decisions, live_tests, routes
from core.db.store import Store
from core.ledger import verify_store
from rollout import canary_changes
from rollout.change_writer import DecisionContext
from rollout.live_plan import load_plan
from serve.routing.table import Target
from tests.support.workflow import CANARY, RolloutHarness

THIRDS = CANARY | {"share": 1 / 3}
FREE: dict[str, Any] = {"limits": {"window_hours": 0, "cooldown_hours": 0}}


def harness_of(**promotion: Any) -> RolloutHarness:
    return RolloutHarness(**{"canary": THIRDS, "holdback": None} | FREE | promotion)


def judged(harness: RolloutHarness, number: int, *, users: int = 200, **down: int) -> dict[str, Any]:
    """Run a canary of `number` over the champion. `v0=30` lets 30 of the users of version 0 vote down.

    Returns the newest decision that is no switch.
    """
    harness.now += timedelta(hours=2)
    champion = harness.promotion.route("m").champion
    harness.offer(number, f"run-{number}", over=champion)
    vote(harness, number, users, **down)
    harness.now += timedelta(minutes=2)
    harness.watch.check_all()
    return next(body for body in bodies(harness)[::-1] if body["verdict"] != "switched")


def vote(harness: RolloutHarness, number: int, users: int = 200, **down: int) -> None:
    """Users of each arm vote, in the planned shares."""
    route = harness.promotion.route("m")
    arms = {route.champion: 2 * users if route.held is None else users, number: users}
    arms |= {} if route.held is None else {route.held: users}
    for version, count in arms.items():
        harness.live(version, count, True, down=down.get(f"v{version}", 0))


def bodies(harness: RolloutHarness) -> list[dict[str, Any]]:
    return [json.loads(row["body"]) for row in decisions.chain(harness.store)]


def forget_anchors(store: Store) -> None:
    """Make the routes those of a release before anchors."""
    with store.transaction() as transaction:
        transaction._connection.execute("UPDATE routes SET anchor = NULL")  # pyright: ignore[reportPrivateUsage]


def served(harness: RolloutHarness) -> tuple[int, int]:
    """(champion, anchor)."""
    route = harness.promotion.route("m")
    return route.champion, route.compared_with


@pytest.fixture
def equal() -> RolloutHarness:
    """Version 1 replaced version 0 as an equal candidate, so version 0 is the anchor."""
    harness = harness_of()
    assert judged(harness, 1)["verdict"] == "promoted"
    return harness


def test_an_equal_candidate_is_promoted_and_the_anchor_stays(equal: RolloutHarness):
    assert served(equal) == (1, 0)
    promoted = bodies(equal)[-2]
    said = promoted["live"]["anchor"]
    assert (said["version"], said["compared_with"]) == (0, 0) and -0.1 < said["lower"] < 0
    assert said["sentence"].startswith("The anchor is still m@0: m@1 is not proven better (lower bound -")
    assert promoted["live"]["route"]["anchor"] == 0
    assert verify_store(equal.store).ok


def test_a_better_candidate_is_the_anchor():
    harness = harness_of()
    promoted = judged(harness, 1, v0=200)
    assert served(harness) == (1, 1)
    assert promoted["live"]["anchor"]["sentence"].startswith("m@1 is better than the anchor m@0 (lower bound +")


def test_the_next_canary_serves_the_anchor_as_a_third_arm(equal: RolloutHarness):
    equal.now += timedelta(hours=2)
    equal.offer(2, "run-2", over=1)
    route, started = equal.promotion.route("m"), equal.last()
    assert (route.champion, route.canary, route.held, route.holdback) == (1, 2, 0, pytest.approx(1 / 3))
    assert "also compares the candidate with m@0, which 33.3% of users get" in started["reason"]
    assert started["live"]["anchor"]["version"] == 0 and started["live"]["anchor"]["use"] == 1
    table = equal.board.table
    assert table is not None and table.models["m"].held == Target(0, "base")
    found = [table.choose("m", f"u{user}").target.version for user in range(3000)]
    assert all(found.count(version) == pytest.approx(1000, abs=120) for version in (0, 1, 2))
    fixed = live_tests.open_canaries(equal.store)[0]["plan"]
    plan = load_plan(fixed, equal.models["m"].promotion.canary, 0.5, 0.5)  # pyright: ignore[reportArgumentType]
    assert plan.anchor is not None and plan.anchor.version == 0
    assert (plan.plan.share, plan.anchor.plan.share) == (pytest.approx(0.5), pytest.approx(0.5))
    assert plan.anchor.plan.alpha < plan.plan.alpha  # all comparisons with one anchor share the level


def test_an_adapter_that_is_the_anchor_stays_loaded_while_it_is_served():
    harness = harness_of()
    judged(harness, 1, v0=200)
    for number in (2, 3):
        assert judged(harness, number)["verdict"] == "promoted"
    assert served(harness) == (3, 1)
    assert 1 not in {version.version for version in harness.promotion.wanted()}
    harness.now += timedelta(hours=2)
    harness.offer(4, "run-4", over=3)
    assert 1 in {version.version for version in harness.promotion.wanted()}
    canary_changes.stop(harness.promotion, "m", "ann", "")
    assert 1 not in {version.version for version in harness.promotion.wanted()}


def test_equal_candidates_are_promoted_again_and_again_and_the_level_of_each_comparison_is_smaller(
    equal: RolloutHarness,
):
    levels = []
    for number in (2, 3, 4):
        assert judged(equal, number)["verdict"] == "promoted"
        started = next(body for body in bodies(equal)[::-1] if body["verdict"] == "canary_started")
        levels.append(started["live"]["plan"]["anchor"]["plan"]["alpha"])
    assert served(equal) == (4, 0)
    assert levels == pytest.approx([0.05 * 0.6079, 0.05 * 0.6079 / 4, 0.05 * 0.6079 / 9], rel=1e-3)
    assert live_tests.count_comparisons(equal.store, model="m", anchor=0) == 3
    assert live_tests.count_comparisons(equal.store, model="m", anchor=1) == 0
    assert live_tests.count_comparisons(equal.store, model="other", anchor=0) == 0


def test_a_candidate_as_good_as_a_worse_champion_is_not_promoted(equal: RolloutHarness):
    """Champion and candidate have 10% thumbs down, the anchor none."""
    last = judged(equal, 2, users=1000, v1=100, v2=100)
    assert last["verdict"] == "canary_started" and equal.promotion.route("m").canary == 2
    (waits,) = live_tests.looks(equal.store, run_id="run-2", most=10, newest=1)
    assert waits["verdict"] == "wait" and "not worse than the anchor m@0: approval differs by -10.0" in waits["reason"]
    assert json.loads(waits["body"])["anchor_arm"]["users"] == 1000
    equal.now += timedelta(hours=2)
    equal.watch.check_all()
    ended = equal.last()
    assert ended["verdict"] == "inconclusive" and "No answer within 1 h: Not yet shown" in ended["reason"]
    route = equal.promotion.route("m")
    assert (route.champion, route.canary, route.holdback, route.compared_with) == (1, None, 0.0, 0)


def test_a_candidate_that_is_better_than_the_champion_alone_is_not_the_anchor(equal: RolloutHarness):
    """Better than a champion that is worse than the anchor is not better than the anchor."""
    promoted = judged(equal, 2, v1=30)
    assert promoted["verdict"] == "promoted" and served(equal) == (2, 0)
    better = judged(equal, 3, v0=30)
    assert better["live"]["anchor"]["compared_with"] == 0 and served(equal) == (3, 3)
    judged(equal, 4)
    assert equal.promotion.route("m").held is None  # version 3 was champion and anchor: two arms


def test_a_worse_candidate_is_rolled_back_whatever_the_anchor(equal: RolloutHarness):
    assert judged(equal, 2, v2=150)["verdict"] == "rolled_back"
    assert served(equal) == (1, 0) and equal.promotion.route("m").holdback == 0


def test_with_strict_no_canary_serves_the_anchor(equal: RolloutHarness):
    strict = harness_of(canary=THIRDS | {"strict": True})
    equal.steps.models = equal.watch.models = strict.models
    promoted = judged(equal, 2, v1=200)
    assert promoted["verdict"] == "promoted"
    assert promoted["live"]["anchor"]["sentence"] == "The anchor is still m@0: this canary did not compare with it."
    assert served(equal) == (2, 0)


# A person, and changes back.


def test_what_a_person_puts_in_service_is_the_anchor(equal: RolloutHarness):
    equal.candidate(2, "run-2")
    equal.steps.promote_by_hand("m", 2, "ann", "")
    assert served(equal) == (2, 2)
    said = bodies(equal)[-2]["live"]["anchor"]
    assert said == {"version": 2, "sentence": "m@2 is the anchor, because ann put it in service."}


def test_a_stopped_canary_keeps_the_anchor(equal: RolloutHarness):
    equal.now += timedelta(hours=2)
    equal.offer(2, "run-2", over=1)
    canary_changes.stop(equal.promotion, "m", "ann", "")
    assert served(equal) == (1, 0) and equal.promotion.route("m").held is None


def test_a_rollback_restores_the_anchor_of_then_and_a_rollback_of_it_too(equal: RolloutHarness):
    judged(equal, 2, v0=30)
    assert served(equal) == (2, 2)
    equal.promotion.roll_back("m", None, DecisionContext("back", "person"))
    assert served(equal) == (1, 0)  # a rollback gives no new margin to lose
    equal.promotion.roll_back("m", 2, DecisionContext("forth", "person"))
    assert served(equal) == (2, 2)
    equal.promotion.roll_back("m", 0, DecisionContext("first", "person"))
    assert served(equal) == (0, 0)


def test_a_rollback_to_a_version_that_never_was_the_champion_makes_it_the_anchor(equal: RolloutHarness):
    equal.candidate(5, "run-5")
    equal.promotion.roll_back("m", 5, DecisionContext("that one", "person"))
    assert served(equal) == (5, 5)


def test_a_rollback_during_a_canary_ends_the_arm_of_the_anchor(equal: RolloutHarness):
    equal.now += timedelta(hours=2)
    equal.offer(2, "run-2", over=1)
    equal.promotion.roll_back("m", 0, DecisionContext("back", "person"))
    route = equal.promotion.route("m")
    assert (route.champion, route.canary, route.held, route.compared_with) == (0, None, None, 0)
    assert live_tests.open_canaries(equal.store) == []


def test_a_holdback_that_rolls_back_restores_the_anchor():
    harness = harness_of(holdback={"share": 0.5, "first_look_users": 30, "planned_users": 200, "hours": 5})
    judged(harness, 1, v0=200)
    route = harness.promotion.route("m")
    assert (route.compared_with, route.held, route.holdback) == (1, 0, 0.5)
    harness.now += timedelta(hours=1)
    harness.live(0, 100, True)
    harness.live(1, 100, False)
    harness.watch.check_all()
    assert "rolled_back" in harness.verdicts() and served(harness) == (0, 0)


def test_an_approved_switch_has_the_anchor_that_the_canary_found():
    harness = harness_of(mode="approve")
    judged(harness, 1, v0=200)
    harness.steps.approve(harness.asked(), "ann", "good")
    assert served(harness) == (1, 1)
    judged(harness, 2)
    harness.steps.approve(harness.asked(), "ann", "good")
    assert served(harness) == (2, 1)


def test_without_a_canary_what_the_offline_gate_promotes_is_the_anchor():
    harness = harness_of(canary=None)
    harness.offer(1)
    assert served(harness) == (1, 1)
    assert "offline gate's proof" in bodies(harness)[0]["live"]["anchor"]["sentence"]


# Stores of older releases.


def test_in_an_older_store_the_champion_is_the_anchor_and_stays_it_under_an_open_canary(equal: RolloutHarness):
    """A canary that was open during the upgrade has no arm of an anchor, and its equal candidate does not become it."""
    forget_anchors(equal.store)
    equal.now += timedelta(hours=2)
    equal.offer(2, "run-2", over=1)
    assert equal.promotion.route("m").held is None
    forget_anchors(equal.store)
    vote(equal, 2)
    equal.watch.check_all()
    assert served(equal) == (2, 1)
    assert judged(equal, 3)["verdict"] == "promoted" and served(equal) == (3, 1)


def test_an_approval_from_before_anchors_moves_none(equal: RolloutHarness):
    equal.candidate(2, "run-2")
    why = DecisionContext("passed", "canary", run_id="run-2", live={"step": "switch"})
    equal.steps._ask("m", 2, "switch", why)  # pyright: ignore[reportPrivateUsage]
    equal.steps.approve(equal.asked(), "ann", "")
    assert served(equal) == (2, 0)


def test_a_version_that_last_served_before_anchors_is_its_own():
    store = Store(":memory:")
    for rev, champion, anchor in ((1, 0, None), (2, 1, None), (3, 2, 1)):
        routes.add(
            store,
            model="m",
            rev=rev,
            time=RolloutHarness().now,
            champion=champion,
            canary=None,
            share=0.0,
            previous=champion - 1 if champion else None,
            salt="s",
            decision_id=None,
            holdback=0.0,
            anchor=anchor,
        )
    assert routes.last_served(store, model="m", champion=1) == routes.LastServed(0, None)
    assert routes.last_served(store, model="m", champion=2) == routes.LastServed(1, 1)
    assert routes.last_served(store, model="m", champion=7) == routes.LastServed(None, None)
