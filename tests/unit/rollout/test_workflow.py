"""Facts about what happens around a verdict: limits, approvals, holdbacks, quarantine, and crashes between steps."""

import json
from datetime import timedelta

import pytest

from core.db import decisions, live_tests
from core.errors import Conflict, NotReady
from core.settings import LimitSettings
from rollout.cooldown import History, PastChange, blocking_reason
from serve.routing.publisher import GatewayPoll, RoutePublisher
from serve.routing.table import ModelRoute, RoutingTable, Target
from tests.support.workflow import CANARY, NOW, PLAIN, WHY, RolloutHarness

# Limits.

LIMITS = LimitSettings(window_hours=20, cooldown_hours=24)


@pytest.mark.parametrize(
    ("history", "hours", "says"),
    [
        (History(), 0, None),
        (History(promoted=PastChange(NOW, 3)), 19.9, "m@3 was promoted on 2026-05-01 12:00 UTC"),
        (History(promoted=PastChange(NOW, 3)), 20, None),
        (History(rolled_back=PastChange(NOW, 2)), 23.9, "nothing is promoted before 2026-05-02 12:00 UTC"),
        (History(rolled_back=PastChange(NOW, 2)), 24, None),
        (History(held_until=NOW + timedelta(hours=2)), 1, "no canary can run at the same time"),
        (History(held_until=NOW + timedelta(hours=2)), 2, None),
    ],
)
def test_a_limit_holds_until_its_time_and_says_so(history: History, hours: float, says: str | None):
    found = blocking_reason("m", history, LIMITS, NOW + timedelta(hours=hours))
    assert (found is None) if says is None else (found is not None and says in found)


def test_one_cause_is_skipped_once_for_any_number_of_requests():
    harness = RolloutHarness(**PLAIN)
    harness.offer()
    assert harness.verdicts() == ["promoted", "switched"]
    for minutes in range(5):
        harness.now = NOW + timedelta(minutes=minutes)
        assert not harness.steps.may_begin("m", "enough feedback")
    assert harness.verdicts() == ["promoted", "switched", "skipped"]
    harness.now = NOW + timedelta(hours=20)
    assert harness.steps.may_begin("m", "enough feedback")


def test_a_run_that_a_person_started_meets_the_limit_before_it_changes_anything():
    harness = RolloutHarness(**PLAIN)
    harness.offer()
    harness.offer(2, "run-2", over=1)
    assert harness.verdicts()[-1] == "skipped" and harness.state("run-2") == "finished"
    assert harness.promotion.route("m").champion == 1


def test_a_promotion_by_hand_says_what_it_waived():
    harness = RolloutHarness(**PLAIN)
    harness.offer()
    harness.candidate(2, "run-2")
    harness.steps.promote_by_hand("m", 2, "ann", "urgent")
    waived = json.loads(decisions.chain(harness.store)[2]["body"])["live"]["waived"]
    assert waived[:3] == ["offline gate", "canary", "holdback"] and "window_hours" in waived[3]


def test_what_was_judged_against_another_champion_does_not_take_over():
    harness = RolloutHarness(**PLAIN)
    harness.candidate(2, "run-2")
    harness.steps.promote_by_hand("m", 2, "ann", "")
    harness.offer(1, over=0)
    assert harness.last()["reason"] == "It was judged against m@0, but m@2 serves now."
    with pytest.raises(Conflict):
        harness.promotion.promote("m", 1, WHY, over=0)


# Approvals.


def test_approval_to_begin_and_approval_to_switch_are_requested_one_after_the_other():
    harness = RolloutHarness(mode="approve", canary=CANARY | {"start": "approve"})
    harness.offer()
    assert harness.last()["live"]["step"] == "canary" and harness.last()["live"]["forecast"]
    assert harness.promotion.route("m").canary is None
    harness.steps.approve(harness.asked(), "ann", "go")
    assert harness.promotion.route("m").canary == 1 and harness.state() == "canary"
    harness.live(0, 40, False)
    harness.live(1, 40, True)
    for _ in range(3):
        harness.watch.check_all()
    assert harness.verdicts() == ["awaiting_approval", "canary_started", "awaiting_approval"]
    harness.steps.approve(harness.asked(), "ann", "good")
    route = harness.promotion.route("m")
    assert (route.champion, route.canary, route.holdback) == (1, None, 0.1)
    assert harness.last()["verdict"] == "switched" and harness.state() == "finished"


def test_while_a_person_thinks_it_over_harm_still_ends_the_canary():
    harness = RolloutHarness(mode="approve", canary=CANARY)
    harness.offer()
    harness.live(0, 40, False)
    harness.live(1, 40, True)
    harness.watch.check_all()
    identity = harness.asked()
    harness.now += timedelta(minutes=2)
    harness.live(0, 200, True)
    harness.live(1, 200, False)
    harness.watch.check_all()
    assert harness.verdicts()[-1] == "rolled_back" and harness.promotion.route("m").canary is None
    with pytest.raises(NotReady, match=r"waits for nobody\. Its run ended: Worse"):
        harness.steps.approve(identity, "ann", "")


def test_an_approval_lapses():
    harness = RolloutHarness(mode="approve", approval_hours=2, **PLAIN)
    harness.offer()
    harness.now += timedelta(hours=1.9)
    harness.watch.check_all()
    assert harness.state() == "awaiting_approval"
    harness.now += timedelta(hours=0.2)
    harness.watch.check_all()
    assert harness.verdicts() == ["awaiting_approval", "withdrawn"]
    with pytest.raises(NotReady, match="Nobody approved it within 2 h"):
        harness.steps.approve(harness.asked(), "ann", "")


def test_an_approval_of_what_was_overtaken_is_refused_with_what_overtook_it():
    harness = RolloutHarness(mode="approve", **PLAIN)
    harness.offer()
    harness.candidate(2, "run-2")
    harness.steps.promote_by_hand("m", 2, "bob", "")
    assert harness.verdicts() == ["awaiting_approval", "promoted", "withdrawn", "switched"]
    with pytest.raises(NotReady, match="bob changed what serves"):
        harness.steps.approve(harness.asked(), "ann", "")


def test_a_rejection_keeps_its_reason():
    harness = RolloutHarness(mode="approve", **PLAIN)
    harness.offer()
    harness.steps.reject(harness.asked(), "ann", "tone is off")
    assert harness.last()["reason"] == "Rejected by ann: tone is off" and harness.state() == "finished"
    with pytest.raises(NotReady):
        harness.steps.reject(harness.asked(), "ann", "again")


def test_a_canary_that_a_person_overtakes_ends_with_its_run():
    harness = RolloutHarness(canary=CANARY)
    harness.offer()
    harness.candidate(2, "run-2")
    harness.steps.promote_by_hand("m", 2, "bob", "")
    assert "withdrawn" in harness.verdicts() and harness.state() == "finished"
    assert live_tests.open_canaries(harness.store) == []


# The forecast, and the switch.


def test_a_forecast_says_what_today_s_traffic_leads_to():
    harness = RolloutHarness(canary=CANARY)
    harness.candidate()
    harness.steps.passed_offline("m", 1, 0, WHY)
    assert "unlikely to reach an answer" in harness.last()["reason"]
    assert harness.last()["live"]["forecast"]["days"] is None
    busy = RolloutHarness(canary=CANARY | {"max_hours": 2})
    busy.live(0, 300, True, after=timedelta(hours=-12))
    busy.candidate()
    busy.steps.passed_offline("m", 1, 0, WHY)
    found = busy.last()["live"]["forecast"]
    assert found["users"] >= 60 and found["requests"] >= found["users"] and found["sentence"] in busy.last()["reason"]


def test_a_switch_is_complete_with_any_later_table():
    board = RoutePublisher()
    route = ModelRoute(Target(1, "a"), None, 0.0, "s")
    board.publish(RoutingTable({}, {"m": route}))
    first = board.etag
    board.publish(RoutingTable({}, {"m": ModelRoute(Target(2, "b"), None, 0.0, "s")}))
    board.report(GatewayPoll(gateway="g", have=first, in_flight=[]))
    assert not board.await_switch(0.01).complete
    board.publish(RoutingTable({"http://e": ("b",)}, {"m": ModelRoute(Target(2, "b"), None, 0.0, "s")}))
    board.report(GatewayPoll(gateway="g", have=board.etag, in_flight=[]))
    assert board.await_switch(0.01).complete
