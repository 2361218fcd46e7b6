"""Facts about holdbacks: how they end, and which settings they keep."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.db import decisions, live_tests
from core.errors import NotReady
from core.settings import CanarySettings, HoldbackSettings, ModelSettings
from eval.gates.holdback import look_back
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.result import Outcome
from rollout.live_plan import create_plan, load_plan
from serve.routing.table import ModelRoute, RoutingTable, Target
from tests.support.workflow import CANARY, WHY, RolloutHarness

# Holdbacks.

OLD = ArmCounts(200, 400, 0.2, 0.4, 0.9, 0.1, 0)
NEW = ArmCounts(1800, 3600, 0.2, 0.4, 0.9, 0.1, 0)


@pytest.mark.parametrize(
    ("new", "over", "outcome", "says"),
    [
        (NEW, False, Outcome.WAIT, "bounds -"),
        (NEW, True, Outcome.PASS, "bounds -"),
        (ArmCounts(1800, 3600, -0.2, 0.4, 0.9, 0.1, 0), False, Outcome.FAIL, "approval differs by -20.0 points"),
        (ArmCounts(1800, 3600, 0.2, 0.4, 0.9, 0.1, 300), True, Outcome.FAIL, "300 of 1800"),
        (ArmCounts(900, 3600, -0.2, 0.4, 0.9, 0.1, 0), True, Outcome.FAIL, "approval differs by -20.0 points"),
        (ArmCounts(900, 3600, 0.2, 0.4, 0.9, 0.1, 300), True, Outcome.FAIL, "300 of 900"),
        (ArmCounts(900, 3600, 0.2, 0.4, 0.9, 0.1, 0), False, Outcome.WAIT, "Nothing can be concluded"),
        (ArmCounts(900, 3600, 0.2, 0.4, 0.9, 0.1, 0), True, Outcome.INCONCLUSIVE, "planned share is 0.9"),
        (replace(NEW, score_mean=math.nan), True, Outcome.INCONCLUSIVE, "not numbers"),
        (replace(NEW, strayed=900), True, Outcome.FAIL, "900 of 1800 new champion's users"),
        # Half as many vote, as happy as ever; the raw score is half of what it was.
        (replace(NEW, score_mean=0.1, rate_mean=0.45), True, Outcome.PASS, "approval differs by +0.0 points"),
    ],
)
def test_a_holdback_looks_for_harm_alone(new: ArmCounts, over: bool, outcome: Outcome, says: str):
    found = look_back(OLD, new, Plan(0.9, 0.4), HoldbackSettings(), over=over).judgement
    assert found.outcome is outcome and says in found.reason


@pytest.mark.parametrize("users", [0, 99])
def test_a_holdback_that_compared_nobody_is_not_confirmed(users: int):
    few = ArmCounts(users, 2 * users, 0.6, 0.4, 0.9, 0.1, 0)
    worse = ArmCounts(9 * users, 18 * users, -0.6, 0.4, 0.9, 0.1, 0)
    early, late = (
        look_back(few, worse, Plan(0.9, 0.4), HoldbackSettings(), over=over).judgement for over in (False, True)
    )
    assert early.outcome is Outcome.WAIT
    assert late.outcome is Outcome.INCONCLUSIVE
    assert (
        f"the new champion stays: {users} users in the smaller arm" in late.reason and "from 100 users" in late.reason
    )


def test_nobody_moves_who_need_not_from_canary_over_holdback_to_the_end():
    base, new, users = Target(0, "b"), Target(1, "n"), [f"u{n}" for n in range(2000)]

    def served(**how: Any) -> dict[str, int]:
        route = ModelRoute(how.pop("champion"), how.pop("canary", None), how.pop("share", 0.0), "s", **how)
        table = RoutingTable({}, {"m": route})
        return {user: table.choose("m", user).target.version for user in users}

    canary = served(champion=base, canary=new, share=0.1)
    held = served(champion=new, held=base, held_share=0.1)
    assert all(held[user] == 1 for user in users if canary[user] == 1)
    assert all(canary[user] == 0 for user in users if held[user] == 0)
    assert 140 < sum(version == 0 for version in held.values()) < 260
    table = RoutingTable({}, {"m": ModelRoute(new, None, 0.0, "s", (), base, 0.1)})
    assert RoutingTable.from_json(table.to_json()) == table
    assert {table.choose("m", user).arm for user in users} == {"champion", "holdback"}


def held_back() -> RolloutHarness:
    harness = RolloutHarness(
        canary=None, holdback={"share": 0.5, "first_look_users": 30, "planned_users": 200, "hours": 5}
    )
    harness.offer()
    return harness


def test_a_holdback_without_harm_ends_on_time_and_is_confirmed():
    harness = held_back()
    table = harness.board.table
    assert table is not None and table.models["m"].held == Target(0, "base")
    harness.live(0, 40, True)
    harness.live(1, 40, True)
    harness.watch.check_all()
    assert harness.promotion.route("m").holdback == 0.5
    harness.now += timedelta(hours=5)
    harness.watch.check_all()
    harness.watch.check_all()
    assert harness.verdicts() == ["promoted", "switched", "confirmed"]
    assert harness.promotion.route("m").holdback == 0 and live_tests.open_holdbacks(harness.store) == []


def test_a_holdback_whose_split_is_broken_ends_inconclusive_and_is_not_confirmed():
    harness = held_back()
    harness.live(0, 200, True)
    harness.live(1, 40, True)
    harness.watch.check_all()
    assert harness.promotion.route("m").holdback == 0.5  # it still watches for harm
    harness.now += timedelta(hours=5)
    harness.watch.check_all()
    assert harness.verdicts() == ["promoted", "switched", "inconclusive"]
    assert "planned share is 0.5" in harness.last()["reason"] and "the new champion stays" in harness.last()["reason"]
    route = harness.promotion.route("m")
    assert (route.champion, route.holdback) == (1, 0) and live_tests.open_holdbacks(harness.store) == []


def test_a_holdback_that_is_switched_off_is_not_confirmed():
    harness = held_back()
    harness.steps.models = harness.watch.models = RolloutHarness(canary=None, holdback=None).models
    harness.watch.check_all()
    assert harness.last()["verdict"] == "inconclusive" and "switched off" in harness.last()["reason"]


# What is fixed beforehand.


def settings_of(**promotion: Any) -> dict[str, ModelSettings]:
    return {"m": ModelSettings.model_validate({"labels": ["c", "d"], "promotion": promotion})}


def test_a_reload_changes_the_next_canary_and_not_the_one_under_way():
    harness = RolloutHarness(canary=CANARY, alpha=0.03)
    harness.live(9, 40, True, after=timedelta(days=-2))
    harness.offer()
    plan = harness.last()["live"]["plan"]
    assert plan["plan"]["alpha"] == 0.03 and plan["plan"]["rate_mean"] == 1 and plan["settings"]["planned_users"] == 200
    changed = CANARY | {"strict": True, "planned_users": 90_000, "margin": 0.3, "max_hours": 0.01, "harm_ratio": 9}
    harness.steps.models = harness.watch.models = settings_of(canary=changed, alpha=0.2)
    harness.now += timedelta(minutes=30)
    harness.live(0, 40, True)
    harness.live(1, 40, True)  # answers "a", which are among the labels of then
    harness.watch.check_all()
    assert harness.verdicts()[:3] == ["canary_started", "promoted", "switched"]
    passed = json.loads(decisions.chain(harness.store)[1]["body"])["live"]
    assert passed["line"] == pytest.approx(-0.1)
    assert passed["holdback_plan"]["plan"]["alpha"] == 0.2 and passed["holdback_plan"]["labels"] == ["c", "d"]


def test_a_reload_does_not_change_a_holdback_under_way():
    harness = held_back()
    harness.steps.models = harness.watch.models = settings_of(
        canary=None, holdback={"share": 0.5, "first_look_users": 5000, "planned_users": 90_000, "hours": 5}
    )
    harness.live(0, 60, True)
    harness.live(1, 60, False)
    harness.watch.check_all()
    assert "rolled_back" in harness.verdicts()


OLDER = {
    "share": 0.5,
    "start": "auto",
    "margin": 0.1,
    "strict": False,
    "first_look_users": 30,
    "planned_users": 200,
    "min_minutes": 0,
    "max_hours": 3,
    "harm_ratio": 1.5,
    "gone_since": 1,
}


def test_a_test_that_an_older_release_began_goes_on_by_what_that_wrote_down():
    old = load_plan(json.dumps(OLDER), CanarySettings(margin=0.2, max_hours=1), 0.4, 0.3)
    assert (old.settings.margin, old.settings.max_hours, old.plan) == (0.1, 3, Plan(0.4, 0.3)) and old.labels == ()
    held = load_plan(None, HoldbackSettings(planned_users=77), 0.9, 0.3)
    assert (held.settings.planned_users, held.plan) == (77, Plan(0.9, 0.3))


def test_a_plan_is_read_as_it_was_written():
    history = {"voters": 10, "score_sd": 0.3, "rate_mean": 0.1, "rate_sd": 0.2, "covariance": 0.01}
    model = ModelSettings.model_validate({"labels": ["a", "b"], "promotion": {"alpha": 0.1}})
    for settings in (CanarySettings(margin=0.07), HoldbackSettings(planned_users=33)):
        written = create_plan(settings, 0.2, model, history)
        assert written.plan == Plan(0.2, 0.3, 0.1, 0.1, 0.2, 0.01)
        others = type(settings)(planned_users=9999)
        assert load_plan(json.dumps(written.plain()), others, 0.5, 0.9) == written
    assert create_plan(HoldbackSettings(), 0.2, model, history | {"voters": 9}).plan == Plan(0.2, alpha=0.1)


def test_a_holdback_that_shows_harm_puts_the_old_champion_back():
    harness = held_back()
    harness.live(0, 60, True)
    harness.live(1, 60, False)
    harness.watch.check_all()
    route = harness.promotion.route("m")
    assert (route.champion, route.previous, route.holdback) == (0, None, 0)
    assert harness.verdicts() == ["promoted", "switched", "rolled_back", "switched"]
    assert live_tests.open_holdbacks(harness.store) == []


def test_the_next_promotion_ends_an_open_holdback():
    harness = held_back()
    harness.now += timedelta(hours=25)
    harness.offer(2, "run-2", over=1)  # before a look has ended the first
    (held,) = live_tests.open_holdbacks(harness.store)
    assert (held["held"], held["promoted"]) == (1, 2)
    assert harness.promotion.route("m").previous == 1


def test_no_canary_starts_during_a_holdback():
    harness = held_back()
    harness.candidate(2, "run-2")
    with pytest.raises(NotReady, match="has a holdback"):
        harness.promotion.start_canary("m", 2, 0.1, WHY, over=1)
