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
from tests.support.workflow import CANARY, NOW, PLAIN, WHY, House

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


def test_one_cause_is_skipped_once_however_often_it_is_asked():
    house = House(**PLAIN)
    house.offer()
    assert house.verdicts() == ["promoted", "switched"]
    for minutes in range(5):
        house.now = NOW + timedelta(minutes=minutes)
        assert not house.steps.may_begin("m", "enough feedback")
    assert house.verdicts() == ["promoted", "switched", "skipped"]
    house.now = NOW + timedelta(hours=20)
    assert house.steps.may_begin("m", "enough feedback")


def test_a_run_that_a_person_started_meets_the_limit_before_it_changes_anything():
    house = House(**PLAIN)
    house.offer()
    house.offer(2, "run-2", over=1)
    assert house.verdicts()[-1] == "skipped" and house.state("run-2") == "finished"
    assert house.promotion.route("m").champion == 1


def test_a_promotion_by_hand_says_what_it_waived():
    house = House(**PLAIN)
    house.offer()
    house.candidate(2, "run-2")
    house.steps.promote_by_hand("m", 2, "ann", "urgent")
    waived = json.loads(decisions.chain(house.store)[2]["body"])["live"]["waived"]
    assert waived[:3] == ["offline gate", "canary", "holdback"] and "window_hours" in waived[3]


def test_what_was_judged_against_another_champion_does_not_take_over():
    house = House(**PLAIN)
    house.candidate(2, "run-2")
    house.steps.promote_by_hand("m", 2, "ann", "")
    house.offer(1, over=0)
    assert house.last()["reason"] == "It was judged against m@0, but m@2 serves now."
    with pytest.raises(Conflict):
        house.promotion.promote("m", 1, WHY, over=0)


# Approvals.


def test_leave_to_begin_and_leave_to_switch_are_asked_one_after_the_other():
    house = House(mode="approve", canary=CANARY | {"start": "approve"})
    house.offer()
    assert house.last()["live"]["step"] == "canary" and house.last()["live"]["forecast"]
    assert house.promotion.route("m").canary is None
    house.steps.approve(house.asked(), "ann", "go")
    assert house.promotion.route("m").canary == 1 and house.state() == "canary"
    house.live(0, 40, False)
    house.live(1, 40, True)
    for _ in range(3):
        house.watch.check_all()
    assert house.verdicts() == ["awaiting_approval", "canary_started", "awaiting_approval"]
    house.steps.approve(house.asked(), "ann", "good")
    route = house.promotion.route("m")
    assert (route.champion, route.canary, route.holdback) == (1, None, 0.1)
    assert house.last()["verdict"] == "switched" and house.state() == "finished"


def test_while_a_person_thinks_it_over_harm_still_ends_the_canary():
    house = House(mode="approve", canary=CANARY)
    house.offer()
    house.live(0, 40, False)
    house.live(1, 40, True)
    house.watch.check_all()
    identity = house.asked()
    house.now += timedelta(minutes=2)
    house.live(0, 200, True)
    house.live(1, 200, False)
    house.watch.check_all()
    assert house.verdicts()[-1] == "rolled_back" and house.promotion.route("m").canary is None
    with pytest.raises(NotReady, match=r"waits for nobody\. Its run ended: Worse"):
        house.steps.approve(identity, "ann", "")


def test_an_approval_lapses():
    house = House(mode="approve", approval_hours=2, **PLAIN)
    house.offer()
    house.now += timedelta(hours=1.9)
    house.watch.check_all()
    assert house.state() == "awaiting_approval"
    house.now += timedelta(hours=0.2)
    house.watch.check_all()
    assert house.verdicts() == ["awaiting_approval", "withdrawn"]
    with pytest.raises(NotReady, match="Nobody approved it within 2 h"):
        house.steps.approve(house.asked(), "ann", "")


def test_an_approval_of_what_was_overtaken_is_refused_with_what_overtook_it():
    house = House(mode="approve", **PLAIN)
    house.offer()
    house.candidate(2, "run-2")
    house.steps.promote_by_hand("m", 2, "bob", "")
    assert house.verdicts() == ["awaiting_approval", "promoted", "withdrawn", "switched"]
    with pytest.raises(NotReady, match="bob changed what serves"):
        house.steps.approve(house.asked(), "ann", "")


def test_a_rejection_keeps_its_reason():
    house = House(mode="approve", **PLAIN)
    house.offer()
    house.steps.reject(house.asked(), "ann", "tone is off")
    assert house.last()["reason"] == "Rejected by ann: tone is off" and house.state() == "finished"
    with pytest.raises(NotReady):
        house.steps.reject(house.asked(), "ann", "again")


def test_a_canary_that_a_person_overtakes_ends_with_its_run():
    house = House(canary=CANARY)
    house.offer()
    house.candidate(2, "run-2")
    house.steps.promote_by_hand("m", 2, "bob", "")
    assert "withdrawn" in house.verdicts() and house.state() == "finished"
    assert live_tests.open_canaries(house.store) == []


# The forecast, and the switch.


def test_a_forecast_says_what_today_s_traffic_leads_to():
    house = House(canary=CANARY)
    house.candidate()
    house.steps.passed_offline("m", 1, 0, WHY)
    assert "unlikely to reach an answer" in house.last()["reason"]
    assert house.last()["live"]["forecast"]["days"] is None
    busy = House(canary=CANARY | {"max_hours": 2})
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
