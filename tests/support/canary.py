"""A control whose model `reviews` has a running canary: version 1 serves, and version 2 is its canary for 10%."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db import runs
from core.db.store import Store
from core.records import Version
from rollout.change_writer import DecisionContext, NewCanary, RunState
from rollout.promotion import RouteManager
from serve.engines.fake import FakeEngines, running
from tests.support.running_control import RunningControl

WHY = DecisionContext("It won.", "test", run_id="run-2")


def start_canary(control: Any, store: Store) -> None:
    """Version 1 serves, and version 2 is its canary."""
    promotion: RouteManager = control.promotion
    promotion.engines = FakeEngines()
    with store.transaction() as transaction:
        for number in (1, 2):
            version = Version("reviews", number, f"reviews@{number}", f"/{number}", "ab", 8, None)
            promotion.add_version(transaction, version)
        now = promotion.clock()
        runs.add(
            transaction, id="run-2", model="reviews", trigger="test", state="canary", started=now, feedback_until=now
        )
        runs.set_candidate(transaction, id="run-2", candidate=2)
    promotion.promote("reviews", 1, DecisionContext("It won.", "test"))
    new = NewCanary(1, 0.1, 0.3, "{}", json.dumps({"evidence": {}, "lineage": {}, "offline": "It won."}))
    state = RunState("run-2", "canary")
    promotion.start_canary("reviews", 2, 0.1, WHY, over=1, canary=new, run=state)


def control_with_canary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    """For a fixture: a control that answers on its port, with the canary."""
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "k")
    monkeypatch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
    made = RunningControl(folder)
    with running(made.app, made.port):
        start_canary(made.app.state.control, made.store)
        yield made
