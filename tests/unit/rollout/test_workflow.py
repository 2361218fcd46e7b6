"""Facts about what happens around a verdict: limits, approvals, holdbacks, quarantine, and crashes between steps."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core import ledger
from core.db import decisions, live_tests, quarantines, runs
from core.db.store import Store
from core.errors import Conflict, NotReady
from core.record_codec import encode
from core.records import Feedback, Interaction, Version
from core.settings import CanarySettings, HoldbackSettings, LimitSettings, ModelSettings
from core.spool import frame
from eval.gates.arms import ArmCounts, Plan
from eval.gates.holdback import look_back
from eval.gates.result import Outcome
from feedback.ingest import add, ingest
from feedback.snapshot import create_snapshot
from rollout import quarantine_review
from rollout.changes import DecisionContext
from rollout.cooldown import History, PastChange, blocking_reason
from rollout.live_monitor import LiveMonitor
from rollout.live_plan import create_plan, load_plan
from rollout.routes import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.fake import FakeEngines
from serve.routing.publisher import GatewayPoll, RoutePublisher
from serve.routing.table import ModelRoute, RoutingTable, Target

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WHY = DecisionContext("won", "test", run_id="run-1")
CANARY: dict[str, Any] = {"share": 0.5, "first_look_users": 30, "planned_users": 200, "min_minutes": 0, "max_hours": 1}
PLAIN: dict[str, Any] = {"canary": None, "holdback": None}


class House:
    """The store with one model and a candidate, at a time that tests set."""

    def __init__(self, path: Path | str = ":memory:", **promotion: Any) -> None:
        self.now = NOW
        self.store = Store(path)
        self.models = {"m": ModelSettings.model_validate({"labels": ["a", "b"], "promotion": promotion})}
        self.board = RoutePublisher()
        self.promotion = RouteManager(
            store=self.store,
            board=self.board,
            engines=FakeEngines(),
            base_name="base",
            clock=lambda: self.now,
            settle_s=0.0,
        )
        self.promotion.sync_models(["m"])
        self.promotion.recover()
        self.steps = RolloutWorkflow(
            store=self.store, promotion=self.promotion, models=self.models, clock=lambda: self.now
        )
        self.watch = LiveMonitor(
            store=self.store, promotion=self.promotion, steps=self.steps, models=self.models, clock=lambda: self.now
        )

    def candidate(self, number: int = 1, run: str = "run-1") -> None:
        with self.store.transaction() as transaction:
            runs.add(
                transaction,
                id=run,
                model="m",
                trigger="test",
                state="evaluating",
                started=self.now,
                feedback_until=self.now,
            )
            self.promotion.add_version(transaction, Version("m", number, f"m@{number}.x", "/x", "ab", 8, run))
            runs.set_candidate(transaction, id=run, candidate=number)

    def offer(self, number: int = 1, run: str = "run-1", over: int = 0) -> None:
        self.candidate(number, run)
        self.steps.passed_offline("m", number, over, DecisionContext("won", "test", run_id=run))

    def verdicts(self) -> list[str]:
        return [row["verdict"] for row in decisions.chain(self.store)]

    def last(self) -> dict[str, Any]:
        return json.loads(decisions.chain(self.store)[-1]["body"])

    def state(self, run: str = "run-1") -> str:
        return str((runs.find(self.store, id=run) or {})["state"])

    def asked(self, verdict: str = "awaiting_approval") -> str:
        return next(row["id"] for row in decisions.chain(self.store)[::-1] if row["verdict"] == verdict)

    def live(self, version: int, users: int, good: bool, *, after: timedelta = timedelta(minutes=1)) -> None:
        data = b""
        for user in range(users):
            identity = f"{version}-{user}-{self.now:%d%H%M}"
            asked = Interaction(
                id=identity,
                time=self.now + after,
                model="m",
                version=version,
                arm="champion",
                share=0.5,
                bucket=0.5,
                user=f"{version}-u{user}",
                conversation=None,
                endpoint="chat",
                request=None,
                answer="a",
                finish_reason="stop",
                status=200,
                latency_ms=5,
                ttft_ms=None,
                prompt_tokens=1,
                completion_tokens=1,
                streamed=False,
            )
            vote = Feedback(f"f{identity}", self.now, identity, None, "thumbs", good)
            data += frame(encode(asked)) + frame(encode(vote))
        ingest(self.store, f"g{version}{self.now:%d%H%M}", 1, 0, data)


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


# Holdbacks.

OLD = ArmCounts(200, 400, 0.2, 0.4, 0.9, 0.1, 0)
NEW = ArmCounts(1800, 3600, 0.2, 0.4, 0.9, 0.1, 0)


@pytest.mark.parametrize(
    ("new", "over", "outcome", "says"),
    [
        (NEW, False, Outcome.WAIT, "upper bound"),
        (NEW, True, Outcome.PASS, "upper bound"),
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


def held_back() -> House:
    house = House(canary=None, holdback={"share": 0.5, "first_look_users": 30, "planned_users": 200, "hours": 5})
    house.offer()
    return house


def test_a_holdback_without_harm_ends_by_itself_and_is_confirmed():
    house = held_back()
    table = house.board.table
    assert table is not None and table.models["m"].held == Target(0, "base")
    house.live(0, 40, True)
    house.live(1, 40, True)
    house.watch.check_all()
    assert house.promotion.route("m").holdback == 0.5
    house.now += timedelta(hours=5)
    house.watch.check_all()
    house.watch.check_all()
    assert house.verdicts() == ["promoted", "switched", "confirmed"]
    assert house.promotion.route("m").holdback == 0 and live_tests.open_holdbacks(house.store) == []


def test_a_holdback_whose_split_is_broken_ends_inconclusive_and_is_not_confirmed():
    house = held_back()
    house.live(0, 200, True)
    house.live(1, 40, True)
    house.watch.check_all()
    assert house.promotion.route("m").holdback == 0.5  # it still watches for harm
    house.now += timedelta(hours=5)
    house.watch.check_all()
    assert house.verdicts() == ["promoted", "switched", "inconclusive"]
    assert "planned share is 0.5" in house.last()["reason"] and "the new champion stays" in house.last()["reason"]
    route = house.promotion.route("m")
    assert (route.champion, route.holdback) == (1, 0) and live_tests.open_holdbacks(house.store) == []


def test_a_holdback_that_is_switched_off_is_not_confirmed():
    house = held_back()
    house.steps.models = house.watch.models = House(canary=None, holdback=None).models
    house.watch.check_all()
    assert house.last()["verdict"] == "inconclusive" and "switched off" in house.last()["reason"]


# What is fixed beforehand.


def settings_of(**promotion: Any) -> dict[str, ModelSettings]:
    return {"m": ModelSettings.model_validate({"labels": ["c", "d"], "promotion": promotion})}


def test_a_reload_changes_the_next_canary_and_not_the_one_under_way():
    house = House(canary=CANARY, alpha=0.03)
    house.live(9, 40, True, after=timedelta(days=-2))
    house.offer()
    plan = house.last()["live"]["plan"]
    assert plan["plan"]["alpha"] == 0.03 and plan["plan"]["rate_mean"] == 1 and plan["settings"]["planned_users"] == 200
    changed = CANARY | {"strict": True, "planned_users": 90_000, "margin": 0.3, "max_hours": 0.01, "harm_ratio": 9}
    house.steps.models = house.watch.models = settings_of(canary=changed, alpha=0.2)
    house.now += timedelta(minutes=30)
    house.live(0, 40, True)
    house.live(1, 40, True)  # answers "a", which are among the labels of then
    house.watch.check_all()
    assert house.verdicts()[:3] == ["canary_started", "promoted", "switched"]
    passed = json.loads(decisions.chain(house.store)[1]["body"])["live"]
    assert passed["line"] == pytest.approx(-0.1)
    assert passed["holdback_plan"]["plan"]["alpha"] == 0.2 and passed["holdback_plan"]["labels"] == ["c", "d"]


def test_a_reload_does_not_change_a_holdback_under_way():
    house = held_back()
    house.steps.models = house.watch.models = settings_of(
        canary=None, holdback={"share": 0.5, "first_look_users": 5000, "planned_users": 90_000, "hours": 5}
    )
    house.live(0, 60, True)
    house.live(1, 60, False)
    house.watch.check_all()
    assert "rolled_back" in house.verdicts()


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
    house = held_back()
    house.live(0, 60, True)
    house.live(1, 60, False)
    house.watch.check_all()
    route = house.promotion.route("m")
    assert (route.champion, route.previous, route.holdback) == (0, 1, 0)
    assert house.verdicts() == ["promoted", "switched", "rolled_back", "switched"]
    assert live_tests.open_holdbacks(house.store) == []


def test_one_holdback_makes_room_for_the_next():
    house = held_back()
    house.now += timedelta(hours=25)
    house.offer(2, "run-2", over=1)  # before a look has ended the first
    (held,) = live_tests.open_holdbacks(house.store)
    assert (held["held"], held["promoted"]) == (1, 2)
    assert house.promotion.route("m").previous == 1


def test_no_canary_starts_beside_a_holdback():
    house = held_back()
    house.candidate(2, "run-2")
    with pytest.raises(NotReady, match="has a holdback"):
        house.promotion.start_canary("m", 2, 0.1, WHY, over=1)


# Quarantine.


def taught(house: House, folder: Path, run: str, labels: range) -> None:
    data = b""
    for n in labels:
        asked = Interaction(
            id=f"i{n}",
            time=NOW,
            model="m",
            version=0,
            arm="champion",
            share=0.0,
            bucket=0.5,
            user=f"u{n}",
            conversation=None,
            endpoint="chat",
            request={"messages": [{"role": "user", "content": f"text {n}"}]},
            answer="a",
            finish_reason="stop",
            status=200,
            latency_ms=1,
            ttft_ms=None,
            prompt_tokens=1,
            completion_tokens=1,
            streamed=False,
        )
        data += frame(encode(asked)) + frame(encode(Feedback(f"v{n:03}", NOW, f"i{n}", None, "label", "a")))
    ingest(house.store, run, 1, 0, data)
    snapshot = create_snapshot(house.store, "m", house.models["m"], run_id=run, folder=folder, clock=lambda: NOW)
    runs.set_snapshot(house.store, id=run, snapshot=snapshot.hash)


def test_a_rollback_holds_the_newest_data_until_it_is_released(tmp_path: Path):
    house = House(**PLAIN, limits={"window_hours": 0})
    house.offer(1)
    taught(house, tmp_path, "run-1", range(10))
    house.offer(2, "run-2", over=1)
    taught(house, tmp_path, "run-2", range(10, 16))
    house.promotion.roll_back("m", None, DecisionContext("bad", "person", "ann"))
    held = json.loads(decisions.find(house.store, id=house.asked("rolled_back"))["body"])["live"]["quarantine"]
    assert held["votes"] == 6

    def snapshot() -> tuple[list[str], dict[str, int]]:
        found = create_snapshot(house.store, "m", house.models["m"], run_id="run-3", folder=tmp_path, clock=lambda: NOW)
        return [row.feedback_id for row in found.rows], found.report.left_out

    assert snapshot() == ([f"v{n:03}" for n in range(10)], {"in quarantine": 6})
    done = quarantine_review.decide(house.promotion, held["id"], "released", actor="ann", comment="a drill")
    assert (done["state"], done["actor"]) == ("released", "ann")
    assert (house.last()["verdict"], house.last()["actor"], house.last()["comment"]) == ("released", "ann", "a drill")
    assert len(snapshot()[0]) == 16
    with pytest.raises(NotReady, match="already released by ann"):
        quarantine_review.decide(house.promotion, held["id"], "rejected", actor="bob", comment="")
    assert house.verdicts()[-1] == "released"


def test_a_drill_may_keep_the_data(tmp_path: Path):
    house = House(**PLAIN)
    house.offer(1)
    taught(house, tmp_path, "run-1", range(4))
    house.promotion.roll_back("m", 0, DecisionContext("drill", "person"), keep_data=True)
    assert quarantines.newest(house.store, model=None) == []


def test_rejected_votes_stay_out_and_a_way_back_brings_none_in(tmp_path: Path):
    house = House(**PLAIN)
    house.offer(1)
    taught(house, tmp_path, "run-1", range(4))
    house.promotion.roll_back("m", 0, DecisionContext("bad", "person"))
    (row,) = quarantines.newest(house.store, model="m")
    assert (row["votes"], row["users"], row["state"]) == (4, 4, "held")
    quarantine_review.decide(house.promotion, row["id"], "rejected", actor="ann", comment="")
    house.promotion.roll_back("m", 1, DecisionContext("undone", "person"))
    assert len(quarantines.newest(house.store, model="m")) == 1
    found = create_snapshot(house.store, "m", house.models["m"], run_id="run-3", folder=tmp_path, clock=lambda: NOW)
    assert found.rows == ()


def test_what_a_key_gave_is_held_until_somebody_has_looked(tmp_path: Path):
    house = House(**PLAIN)
    house.offer(1)
    taught(house, tmp_path, "run-1", range(4))
    with pytest.raises(NotReady, match="The key 'bad' has no vote"):
        quarantine_review.hold_key(house.promotion, "m", "bad", actor="ann", comment="")
    assert "quarantined" not in house.verdicts()
    later = [Feedback(f"bad:{n}", NOW, "i1", None, "label", "b", user=f"u{n}", key_id="bad") for n in range(3)]
    add(house.store, later)
    held = quarantine_review.hold_key(house.promotion, "m", "bad", actor="ann", comment="one script")
    assert (held["key"], held["version"], held["state"], held["model"]) == ("bad", None, "held", "m")
    assert (house.last()["verdict"], house.last()["live"], house.last()["comment"]) == (
        "quarantined",
        {"key": "bad"},
        "one script",
    )
    (row,) = quarantines.newest(house.store, model="m")
    assert (row["votes"], row["id"]) == (3, held["id"])
    found = create_snapshot(house.store, "m", house.models["m"], run_id="run-3", folder=tmp_path, clock=lambda: NOW)
    assert found.report.left_out == {"in quarantine": 3}
    done = quarantine_review.decide(house.promotion, str(row["decision_seq"]), "rejected", actor="ann", comment="")
    assert (done["id"], done["state"]) == (held["id"], "rejected")
    assert "Votes of the key bad are permanently left out of training" in house.last()["reason"]


# Crashes.


class Killed(BaseException):
    """Control ends here."""


def promoting(house: House) -> None:
    house.offer(1)


def undoing(house: House) -> None:
    house.live(0, 60, True)
    house.live(1, 60, False)
    house.watch.check_all()


INSIDE = (
    "rollout.changes._with_quarantine",
    "rollout.changes.write_route",
    "rollout.changes._withdraw_waiting",
)
AFTER = ("rollout.routes.RouteManager.publish", "rollout.routes.report_switch")


@pytest.mark.parametrize("point", INSIDE + AFTER)
@pytest.mark.parametrize(("before", "act", "champions"), [(None, promoting, (0, 1)), (promoting, undoing, (1, 0))])
def test_a_kill_between_any_two_steps_leaves_all_of_a_change_or_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    before: Callable[[House], None] | None,
    act: Callable[[House], None],
    champions: tuple[int, int],
):
    held = {"share": 0.5, "first_look_users": 30, "planned_users": 200}
    settings: dict[str, Any] = {"canary": None, "holdback": held}
    house = House(tmp_path / "store", **settings)
    if before:
        before(house)

    def end(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(point, end)
        with pytest.raises(Killed):
            act(house)
    house.store.close()
    again = House(tmp_path / "store", **settings)
    route = again.promotion.route("m")
    happened = point in AFTER
    assert route.champion == champions[happened]
    assert again.board.table is not None and again.board.table.models["m"].champion.version == route.champion
    # A holdback stands exactly while its row does, and every switch has its event row.
    assert bool(route.holdback) == bool(live_tests.open_holdbacks(again.store))
    assert again.verdicts().count("switched") == sum(v in ("promoted", "rolled_back") for v in again.verdicts())
    assert ledger.verify_store(again.store).ok
    again.promotion.recover()
    assert again.verdicts().count("switched") == sum(v in ("promoted", "rolled_back") for v in again.verdicts())
    if before and not happened:
        again.watch.check_all()  # the next look completes what the kill had undone
        assert again.promotion.route("m").champion == champions[1]
    again.store.close()


@pytest.mark.parametrize("point", [*INSIDE, "rollout.changes.set_run_state"])
def test_a_kill_while_a_canary_starts_or_ends_leaves_route_and_run_in_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
):
    house = House(tmp_path / "store", canary=CANARY)

    def end(*_: Any, **__: Any) -> None:
        raise Killed

    house.candidate()
    for step in (lambda: house.steps.passed_offline("m", 1, 0, WHY), house.watch.check_all):
        route, state = house.promotion.route("m"), house.state()
        with monkeypatch.context() as patch:
            patch.setattr(point, end)
            with pytest.raises(Killed):
                step()
        assert (house.promotion.route("m"), house.state()) == (route, state)
        step()
        house.now += timedelta(hours=2)
    assert house.verdicts() == ["canary_started", "inconclusive"]
    assert house.promotion.route("m").canary is None and house.state() == "finished"
    house.store.close()


def test_one_test_that_cannot_be_acted_on_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch):
    house = House(canary=CANARY)
    house.offer()
    house.now += timedelta(hours=2)
    monkeypatch.setattr(house.promotion, "end_canary", lambda *_: (_ for _ in ()).throw(NotReady("engines are down")))
    house.watch.check_all()
    assert house.verdicts() == ["canary_started"]
    monkeypatch.undo()
    house.watch.check_all()
    assert house.verdicts()[-1] == "inconclusive"


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
