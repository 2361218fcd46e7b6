"""Facts about promotion, rollback and the watch over canaries, on a real store."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core import ledger
from core.db import decisions, live_tests, runs
from core.db.store import Store
from core.errors import AdapterRefused, AlreadyDone, Conflict, NotFound, NotReady
from core.record_codec import encode
from core.records import Feedback, Verdict, Version
from core.settings import ModelSettings
from core.spool import frame
from eval.gates.live_arms import Plan
from feedback.ingest import ingest
from rollout import change_writer
from rollout.change_writer import DecisionContext, NewCanary, RunState
from rollout.live_monitor import LiveMonitor
from rollout.live_plan import known
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow, history
from serve.engines.fake import FakeEngines
from serve.routing.publisher import RoutePublisher
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WHY = DecisionContext("because", "test")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def promotion(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> RouteManager:
    found = RouteManager(
        store=Store(":memory:"),
        board=RoutePublisher(),
        engines=FakeEngines(refused=(9,)),
        base_name="base",
        clock=clock,
    )
    found.sync_models(["reviews"])
    for number in (1, 2, 9):
        with found.store.transaction() as transaction:
            name = f"reviews@{number}.abc"
            found.add_version(transaction, Version("reviews", number, name, f"/adapters/{name}", "abc", 8, None))
    return found


def verdicts(store: Store) -> list[str]:
    return [row["verdict"] for row in decisions.chain(store)]


def test_a_new_model_is_served_by_the_base_model(promotion: RouteManager):
    assert promotion.board.table is not None
    target = promotion.board.table.models["reviews"].champion
    assert (target.version, target.engine_name) == (0, "base")


def test_the_share_of_answers_to_ask_about_is_in_the_table(promotion: RouteManager):
    promotion.sync_models(["reviews"], {"reviews": 0.05})
    assert promotion.board.table is not None and promotion.board.table.models["reviews"].audit_share == 0.05
    promotion.sync_models(["reviews"], {})
    assert promotion.board.table.models["reviews"].audit_share == 0.0


def test_a_promotion_changes_route_and_ledger_together(promotion: RouteManager):
    promotion.promote("reviews", 1, WHY)
    route = promotion.route("reviews")
    assert (route.champion, route.previous, route.rev) == (1, 0, 2)
    assert verdicts(promotion.store) == ["promoted", "switched"]
    assert promotion.board.table is not None
    assert promotion.board.table.models["reviews"].champion.engine_name == "reviews@1.abc"


def test_a_part_of_a_change_that_fails_undoes_all_of_it(promotion: RouteManager, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(change_writer, "set_run_state", fail)
    with pytest.raises(RuntimeError):
        promotion.promote("reviews", 1, WHY, run=RunState("run-1", "finished"))
    assert promotion.route("reviews").champion == 0
    assert verdicts(promotion.store) == []


def test_a_second_rollback_goes_further_back_and_forward_only_to_a_version_that_is_named(promotion: RouteManager):
    promotion.settle_s = 0.0
    promotion.promote("reviews", 1, WHY)
    promotion.promote("reviews", 2, WHY)
    served = []
    for to in (None, None, 2, None, None):
        promotion.roll_back("reviews", to, WHY)
        served.append(promotion.route("reviews").champion)
    assert served == [1, 0, 2, 1, 0]
    with pytest.raises(NotReady, match="no other champion"):
        promotion.roll_back("reviews", None, WHY)


def test_a_version_that_an_engine_refuses_never_serves(promotion: RouteManager):
    with pytest.raises(AdapterRefused):
        promotion.promote("reviews", 9, WHY)
    assert promotion.route("reviews").champion == 0


@pytest.mark.parametrize(
    ("model", "version", "error", "text"),
    [
        ("nope", 1, NotFound, "There is no model 'nope'"),
        ("reviews", 7, NotFound, "There is no version 'reviews@7'"),
        ("reviews", 0, AlreadyDone, "is already the champion"),
    ],
)
def test_wrong_names_are_refused(promotion: RouteManager, model: str, version: int, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        promotion.promote(model, version, WHY)


def test_of_two_changes_from_one_state_only_one_takes_effect(promotion: RouteManager, monkeypatch: pytest.MonkeyPatch):
    old = promotion.route("reviews")
    promotion.promote("reviews", 1, WHY)
    monkeypatch.setattr(promotion, "route", lambda _: old)
    with pytest.raises(Conflict):
        promotion.promote("reviews", 2, WHY)
    monkeypatch.undo()
    assert promotion.route("reviews").champion == 1


def test_the_rollback_target_and_the_canary_stay_loaded(promotion: RouteManager):
    promotion.promote("reviews", 1, WHY)
    promotion.start_canary("reviews", 2, 0.5, WHY, over=1)
    assert {v.version for v in promotion.wanted()} == {0, 1, 2}


def test_every_row_follows_from_the_one_before(promotion: RouteManager):
    promotion.promote("reviews", 1, WHY)
    promotion.record_decision("reviews", 2, Verdict.KEPT, WHY)
    report = ledger.verify_store(promotion.store)
    assert report.ok
    assert report.rows == 3


def test_a_restart_changes_no_route(promotion: RouteManager):
    promotion.promote("reviews", 1, WHY)
    promotion.sync_models(["reviews"])
    assert promotion.route("reviews").champion == 1


# The watch.

SETTINGS = ModelSettings.model_validate(
    {
        "labels": ["a", "b"],
        "promotion": {
            "holdback": None,
            "canary": {"share": 0.5, "first_look_users": 30, "planned_users": 200, "min_minutes": 0, "max_hours": 1},
        },
    }
)


def begin(promotion: RouteManager, settings: ModelSettings = SETTINGS) -> LiveMonitor:
    runs.add(
        promotion.store,
        id="run-1",
        model="reviews",
        trigger="test",
        state="evaluating",
        started=NOW,
        feedback_until=NOW,
    )
    kept = json.dumps({"evidence": {}, "lineage": {"rows": 1}, "offline": "won"})
    canary = NewCanary(control=0, share=0.5, score_sd=0.4, plan="{}", decision=kept)
    why = replace(WHY, run_id="run-1")
    promotion.start_canary("reviews", 1, 0.5, why, over=0, canary=canary, run=RunState("run-1", "canary"))
    models = {"reviews": settings}
    steps = RolloutWorkflow(store=promotion.store, promotion=promotion, models=models, clock=promotion.clock)
    return LiveMonitor(store=promotion.store, promotion=promotion, steps=steps, models=models, clock=promotion.clock)


def live(store: Store, version: int, users: int, good: float, *, status: int = 200) -> None:
    """Each user asks twice and votes; a share `good` of the users is content."""
    data = b""
    for user in range(users):
        for turn in range(2):
            identity = f"c-{version}-{user}-{turn}"
            asked = interaction(
                identity,
                time=NOW + timedelta(minutes=1),
                model="reviews",
                version=version,
                share=0.5,
                user=f"{version}-u{user}",
                request={},
                status=status,
            )
            vote = Feedback(f"f-{identity}", NOW, identity, None, "thumbs", user < good * users)
            data += frame(encode(asked)) + frame(encode(vote))
    ingest(store, "g", version, 0, data)


def test_a_better_canary_takes_over_and_its_run_ends(promotion: RouteManager):
    watch = begin(promotion)
    live(promotion.store, 0, 40, 0.3)
    live(promotion.store, 1, 40, 0.9)
    watch.check_all()
    assert promotion.route("reviews").champion == 1
    assert verdicts(promotion.store) == ["canary_started", "promoted", "switched"]
    run = runs.find(promotion.store, id="run-1")
    assert run is not None
    assert run["state"] == "finished"
    watch.check_all()
    assert len(verdicts(promotion.store)) == 3


def test_a_worse_canary_is_withdrawn(promotion: RouteManager):
    watch = begin(promotion)
    live(promotion.store, 0, 40, 0.9)
    live(promotion.store, 1, 40, 0.2)
    watch.check_all()
    route = promotion.route("reviews")
    assert (route.champion, route.canary) == (0, None)
    assert verdicts(promotion.store)[-1] == "rolled_back"


def test_a_canary_that_breaks_is_withdrawn(promotion: RouteManager):
    watch = begin(promotion)
    live(promotion.store, 0, 25, 0.5)
    live(promotion.store, 1, 25, 0.5, status=500)
    watch.check_all()
    assert verdicts(promotion.store)[-1] == "rolled_back"


def test_with_approval_required_a_person_decides_before_the_switch(promotion: RouteManager):
    settings = SETTINGS.model_copy(update={"promotion": SETTINGS.promotion.model_copy(update={"mode": "approve"})})
    watch = begin(promotion, settings)
    live(promotion.store, 0, 40, 0.3)
    live(promotion.store, 1, 40, 0.9)
    watch.check_all()
    assert promotion.route("reviews").champion == 0
    assert verdicts(promotion.store)[-1] == "awaiting_approval"
    assert 1 in {v.version for v in promotion.wanted()}


def test_without_traffic_a_canary_ends_inconclusive(promotion: RouteManager, clock: Clock):
    watch = begin(promotion)
    watch.check_all()
    assert promotion.route("reviews").canary == 1
    clock.now += timedelta(hours=2)
    watch.check_all()
    assert promotion.route("reviews").canary is None
    assert verdicts(promotion.store)[-1] == "inconclusive"


def test_looks_are_kept_once_while_nothing_changes(promotion: RouteManager):
    watch = begin(promotion)
    live(promotion.store, 0, 5, 0.5)
    watch.check_all()
    watch.check_all()
    assert [row["look"] for row in live_tests.looks(promotion.store, run_id="run-1", most=10, newest=1)] == [1]


def test_without_history_the_tuning_takes_a_usual_deviation(promotion: RouteManager):
    assert known(history(promotion.store, "reviews", NOW)) == {} and Plan(0.5).score_sd == 0.5
    live(promotion.store, 0, 9, 0.5)
    assert known(history(promotion.store, "reviews", NOW + timedelta(hours=1))) == {}
    live(promotion.store, 1, 40, 0.5)
    found = known(history(promotion.store, "reviews", NOW + timedelta(hours=1)))
    assert found["score_sd"] == pytest.approx(1.0, abs=0.05)
    assert (found["rate_mean"], found["rate_sd"]) == (1, 0.05) and found["covariance"] == pytest.approx(0)
