"""Report what a switch of the champion cost: its duration, requests in flight, and requests that failed."""

import time
from dataclasses import replace
from datetime import datetime

from core.clock import Clock
from core.db import interactions
from core.db.store import Store
from core.ledger import append
from core.records import Decision, Verdict
from rollout.change_writer import DecisionContext, make_decision
from serve.routing.publisher import RoutePublisher, SwitchResult


def report_switch(
    store: Store, board: RoutePublisher, decision: Decision, champion: int, settle_s: float, clock: Clock
) -> SwitchResult:
    """Wait until every gateway has the newest table, then write the `switched` event of a promotion or rollback.

    Requests that fail within `settle_s` seconds count as failures of the switch. No event is written if the champion
    is the same as before.
    """
    switch = replace(board.await_switch(), decision_id=decision.id)
    if decision.from_version == champion:
        return switch
    time.sleep(settle_s)
    failed = interactions.count_failed(store, model=decision.model, since=decision.time)["n"]
    live = {
        "decision": decision.id,
        "switch_ms": round(switch.ms, 1),
        "in_flight": switch.in_flight,
        "failed": failed,
        "gateways": switch.gateways,
        "complete": switch.complete,
    }
    reason = (
        f"{decision.model}@{champion} served from every gateway ({switch.gateways}) after {switch.ms:.0f} ms. "
        f"Requests in flight: {switch.in_flight}. Failed requests: {failed}."
    )
    context = DecisionContext(reason, decision.trigger, decision.actor, run_id=decision.run_id, live=live)
    assert decision.from_version is not None
    event = make_decision(decision.model, decision.from_version, champion, Verdict.SWITCHED, context, clock())
    with store.transaction() as transaction:
        append(transaction, event)
    return switch


def report_interrupted_switch(store: Store, row: dict[str, object], now: datetime) -> None:
    """Write the event of a switch whose control stopped before it could report."""
    model, champion, before = str(row["model"]), int(str(row["champion"])), int(str(row["from_version"]))
    reason = f"Control stopped during the switch to {model}@{champion}, which has served since."
    live = {"decision": row["decision_id"], "complete": False}
    run_id = None if row["run_id"] is None else str(row["run_id"])
    context = DecisionContext(reason, "restart", "control", run_id=run_id, live=live)
    with store.transaction() as transaction:
        append(transaction, make_decision(model, before, champion, Verdict.SWITCHED, context, now))
