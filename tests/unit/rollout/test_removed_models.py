"""Facts about models that were taken out of the file: what of them ends, and that the others are watched on."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.db import decisions, live_tests, runs
from core.db.store import Store
from core.record_codec import encode
from core.records import Feedback, Version
from core.settings import ModelSettings
from core.spool import frame
from feedback.ingest import ingest
from ops.control import Engines
from rollout.change_writer import DecisionContext
from rollout.live_monitor import LiveMonitor
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine
from serve.engines.reconciler import Reconciler
from serve.routing.publisher import RoutePublisher
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CANARY: dict[str, Any] = {"share": 0.5, "first_look_users": 30, "planned_users": 200, "min_minutes": 0}
STAYS, GOES = "stays", "goes"


class TwoModelHarness:
    """One store and one engine under two models, and control that starts again on the settings that are left."""

    def __init__(self, **promotion: Any) -> None:
        self.now, self.store, self.engine = NOW, Store(":memory:"), FakeEngine()
        settings = ModelSettings.model_validate({"labels": ["a", "b"], "promotion": promotion})
        self.settings = {STAYS: settings, GOES: settings}
        self.start(STAYS, GOES)

    def start(self, *names: str) -> None:
        self.board = RoutePublisher()
        client = VllmClient("http://e", transport=self.engine.transport())
        reconciler = Reconciler([client], base_name="base", self_check=lambda _: "well")
        self.promotion = RouteManager(
            store=self.store,
            board=self.board,
            engines=reconciler,
            base_name="base",
            clock=lambda: self.now,
            settle_s=0.0,
        )
        self.engines = Engines(reconciler, self.promotion, self.board)
        self.models = {name: self.settings[name] for name in names}
        self.promotion.sync_models(list(names))
        self.steps = RolloutWorkflow(
            store=self.store, promotion=self.promotion, models=self.models, clock=lambda: self.now
        )
        self.watch = LiveMonitor(
            store=self.store, promotion=self.promotion, steps=self.steps, models=self.models, clock=lambda: self.now
        )
        self.engines.look()

    def offer(self, model: str) -> None:
        run = f"run-{model}"
        with self.store.transaction() as transaction:
            runs.add(
                transaction,
                id=run,
                model=model,
                trigger="test",
                state="evaluating",
                started=self.now,
                feedback_until=self.now,
            )
            self.promotion.add_version(transaction, Version(model, 1, f"{model}@1.x", "/x", "ab", 8, run))
            runs.set_candidate(transaction, id=run, candidate=1)
        self.steps.passed_offline(model, 1, 0, DecisionContext("won", "test", run_id=run))

    def users(self, model: str, version: int, good: bool) -> None:
        data = b""
        for user in range(40):
            identity = f"{model}-{version}-{user}"
            asked = interaction(
                identity,
                time=self.now,
                model=model,
                version=version,
                share=0.5,
                user=identity,
                request=None,
                latency_ms=5,
            )
            vote = Feedback(f"f{identity}", self.now, identity, None, "thumbs", good)
            data += frame(encode(asked)) + frame(encode(vote))
        ingest(self.store, f"{model}-{version}", 1, 0, data)

    def ledger(self, model: str) -> list[tuple[str, str | None]]:
        rows = decisions.after(self.store, seq=0, limit=100)
        return [(row["verdict"], row["run_id"]) for row in rows if row["model"] == model]

    def state(self, model: str) -> str:
        return str((runs.find(self.store, id=f"run-{model}") or {})["state"])


def test_a_canary_of_a_removed_model_ends_with_a_reason_and_is_served_no_more():
    harness = TwoModelHarness(canary=CANARY)
    harness.offer(GOES)
    harness.start(STAYS)
    assert harness.board.table is not None and set(harness.board.table.models) == {STAYS}
    assert live_tests.open_canaries(harness.store) == [] and harness.state(GOES) == "finished"
    route = harness.promotion.route(GOES)
    assert (route.champion, route.canary, route.share) == (0, None, 0.0)
    assert harness.ledger(GOES) == [("canary_started", "run-goes"), ("withdrawn", "run-goes")]
    body = json.loads(decisions.after(harness.store, seq=0, limit=100)[-1]["body"])
    assert body["reason"] == "goes is not in the settings any more, so it is not served."
    assert (body["trigger"], body["actor"]) == ("settings", "control")


def test_an_approval_and_a_holdback_of_a_removed_model_end_too():
    asks = TwoModelHarness(canary=CANARY | {"start": "approve"})
    asks.offer(GOES)
    asks.start(STAYS)
    assert decisions.open_approvals(asks.store) == [] and asks.ledger(GOES)[-1] == ("withdrawn", "run-goes")
    held = TwoModelHarness(canary=None, holdback={"share": 0.5, "hours": 5})
    held.offer(GOES)
    held.start(STAYS)
    assert live_tests.open_holdbacks(held.store) == [] and held.promotion.route(GOES).holdback == 0
    assert held.ledger(GOES)[-1] == ("withdrawn", "run-goes") and held.promotion.route(GOES).champion == 1


def test_a_removed_model_without_open_work_gets_no_row_and_may_return():
    harness = TwoModelHarness(canary=None, holdback=None)
    harness.offer(GOES)
    before = harness.ledger(GOES)
    harness.start(STAYS)
    harness.start(STAYS, GOES)
    assert harness.ledger(GOES) == before
    assert harness.board.table is not None and harness.board.table.models[GOES].champion.version == 1


def test_engines_give_up_the_adapters_of_a_removed_model():
    harness = TwoModelHarness(canary=CANARY)
    harness.offer(GOES)
    harness.offer(STAYS)
    assert set(harness.engine.adapters) == {"goes@1.x", "stays@1.x"}
    harness.start(STAYS)
    harness.engines.look()
    assert set(harness.engine.adapters) == {"stays@1.x"}


def test_an_error_in_one_live_test_stops_no_other(caplog: pytest.LogCaptureFixture):
    harness = TwoModelHarness(canary=CANARY)
    harness.offer(GOES)
    harness.offer(STAYS)
    harness.users(STAYS, 0, True)
    harness.users(STAYS, 1, False)
    del harness.models[GOES]  # nobody has cleaned up after it
    harness.watch.check_all()
    assert harness.ledger(STAYS)[-1] == ("rolled_back", "run-stays")
    assert "goes, run run-goes" in caplog.text and "KeyError" in caplog.text


def test_an_approval_that_cannot_lapse_keeps_no_other_from_it():
    harness = TwoModelHarness(canary=CANARY | {"start": "approve"}, approval_hours=1)
    harness.offer(GOES)
    harness.offer(STAYS)
    harness.now += timedelta(hours=2)
    del harness.models[GOES]
    harness.watch.check_all()
    assert harness.ledger(STAYS)[-1] == ("withdrawn", "run-stays")


def test_only_adapters_to_unload_are_checked_for_running_requests(monkeypatch: pytest.MonkeyPatch):
    harness, asked = TwoModelHarness(canary=None, holdback=None), []
    harness.offer(STAYS)
    harness.engine.adapters["strange"] = "/s"
    drained = harness.board.drained
    monkeypatch.setattr(harness.board, "drained", lambda *who: asked.append(who) or drained(*who))
    harness.engines.look()
    assert asked == [] and "strange" in harness.engine.adapters  # not ours to unload
    harness.promotion.roll_back(STAYS, 0, DecisionContext("a drill", "test"))
    harness.engines.look()
    assert asked == [] and "stays@1.x" in harness.engine.adapters  # to roll back to
