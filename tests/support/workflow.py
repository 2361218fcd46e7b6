"""A rollout workflow on a real store with fake engines, driven by a clock of its own."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core.db import decisions, runs
from core.db.store import Store
from core.record_codec import encode
from core.records import Feedback, Version
from core.settings import ModelSettings
from core.spool import frame
from feedback.ingest import ingest
from rollout.change_writer import DecisionContext
from rollout.live_monitor import LiveMonitor
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.fake import FakeEngines
from serve.routing.publisher import RoutePublisher
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
WHY = DecisionContext("won", "test", run_id="run-1")
CANARY: dict[str, Any] = {"share": 0.5, "first_look_users": 30, "planned_users": 200, "min_minutes": 0, "max_hours": 1}
PLAIN: dict[str, Any] = {"canary": None, "holdback": None}


class RolloutHarness:
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

    def decisions(self) -> list[dict[str, Any]]:
        return [json.loads(row["body"]) for row in decisions.chain(self.store)]

    def last(self) -> dict[str, Any]:
        return json.loads(decisions.chain(self.store)[-1]["body"])

    def state(self, run: str = "run-1") -> str:
        return str((runs.find(self.store, id=run) or {})["state"])

    def asked(self, verdict: str = "awaiting_approval") -> str:
        return next(row["id"] for row in decisions.chain(self.store)[::-1] if row["verdict"] == verdict)

    def live(
        self, version: int, users: int, good: bool, *, after: timedelta = timedelta(minutes=1), down: int = 0
    ) -> None:
        """One vote each; the last `down` users vote down in any case."""
        data = b""
        for user in range(users):
            identity = f"{version}-{user}-{self.now:%d%H%M}"
            asked = interaction(
                identity,
                time=self.now + after,
                version=version,
                share=0.5,
                user=f"{version}-u{user}",
                request=None,
                latency_ms=5,
            )
            vote = Feedback(f"f{identity}", self.now, identity, None, "thumbs", good and user < users - down)
            data += frame(encode(asked)) + frame(encode(vote))
        ingest(self.store, f"g{version}{self.now:%d%H%M}", 1, 0, data)
