"""One `Change` is everything that one decision changes; `apply_change` writes all of it, or nothing.

The ledger entry, the route, the state of a run, a live test that begins or ends, and votes in quarantine take effect
in one transaction, so that no crash leaves a part of them.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from core.clock import new_id
from core.db import live_tests, routes, runs
from core.db.store import Transaction
from core.errors import Conflict
from core.ledger import append
from core.records import Decision, Route, Verdict
from core.route_check import recorded_route
from eval.gates.fingerprint import gate_fingerprint
from feedback import quarantine
from feedback.quarantine import Hold


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What the ledger records of a decision besides model, version and verdict."""

    reason: str
    trigger: str
    actor: str = "scheduler"
    comment: str = ""
    run_id: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunState:
    """The state that a run gets, with its reason if the run ends."""

    run_id: str | None
    state: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class NewCanary:
    """A canary that begins. `plan` and `decision` are JSON. `anchor_share` of users get the anchor, to compare with."""

    control: int
    share: float
    score_sd: float
    plan: str
    decision: str
    anchor_share: float = 0.0


@dataclass(frozen=True, slots=True)
class PausedCanary:
    """The running canary serves nobody until it is restarted."""


@dataclass(frozen=True, slots=True)
class RestartedCanary:
    """The running canary counts its users again from now, by another plan. `plan` is JSON."""

    share: float
    score_sd: float
    plan: str
    anchor_share: float = 0.0


@dataclass(frozen=True, slots=True)
class NewHoldback:
    """A holdback that begins: `share` of users stays with the previous champion until `until`. `plan` is JSON."""

    share: float
    until: datetime
    score_sd: float
    plan: str


@dataclass(frozen=True, slots=True)
class EndQuarantine:
    """Release the votes of a quarantine, or reject them."""

    quarantine_id: str
    outcome: quarantine.Outcome


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that one decision changes. `before` and `after` are the route; both are None if it stays."""

    decision: Decision
    before: Route | None = None
    after: Route | None = None
    run: RunState | None = None
    canary: NewCanary | RestartedCanary | PausedCanary | None = None
    holdback: NewHoldback | None = None
    quarantine: Hold | EndQuarantine | None = None


def make_decision(
    model: str, champion: int, version: int | None, verdict: Verdict, context: DecisionContext, now: datetime
) -> Decision:
    """The ledger entry of a decision about `version`, while `champion` serves."""
    return Decision(
        id=new_id("dec"),
        time=now,
        model=model,
        from_version=champion,
        to_version=version,
        verdict=verdict,
        reason=context.reason,
        trigger=context.trigger,
        actor=context.actor,
        comment=context.comment,
        run_id=context.run_id,
        evidence=context.evidence,
        lineage=context.lineage,
        live=context.live,
        gate_code=gate_fingerprint(),
    )


def apply_change(transaction: Transaction, change: Change, now: datetime) -> None:
    """Write a change. Raises Conflict if `before` is not the current route any more."""
    decision, before, after = change.decision, change.before, change.after
    if before is not None:
        _check_current(transaction, before)
    if before is not None and after is not None:
        after = replace(after, rev=before.rev + 1)
        decision = replace(decision, live=decision.live | {"route": recorded_route(after)})
    append(transaction, decision)
    if before is not None and after is not None:
        write_route(transaction, after, decision.id, now)
        if before.holdback:  # every change of the route ends the holdback; the change itself may begin another
            live_tests.close_holdback(transaction, model=decision.model, time=now)
    if change.canary is not None:
        _write_canary(transaction, decision, change.canary, now)
    if change.holdback is not None:
        _add_holdback(transaction, decision, change.holdback, now)
    if change.run is not None:
        set_run_state(transaction, change.run, now)
    match change.quarantine:
        case Hold() as request:
            quarantine.hold(transaction, decision.model, request, decision_id=decision.id, time=now)
        case EndQuarantine(quarantine_id, outcome):
            quarantine.decide(
                transaction, quarantine_id, outcome, actor=decision.actor, comment=decision.comment, time=now
            )
    if before is not None and after is not None:
        _withdraw_waiting(transaction, decision, before, after, now)
        if before.champion != after.champion:
            _release_held(transaction, decision, after, now)


def set_run_state(transaction: Transaction, run: RunState, now: datetime) -> None:
    """Set the state of a run. Every state of a run is written here."""
    runs.set_state(transaction, id=run.run_id, state=run.state, time=now, reason=run.reason)


def write_route(transaction: Transaction, route: Route, decision_id: str | None, now: datetime) -> None:
    """Make a route the current one."""
    routes.add(
        transaction,
        model=route.model,
        rev=route.rev,
        time=now,
        champion=route.champion,
        canary=route.canary,
        share=route.share,
        previous=route.previous,
        salt=route.salt,
        decision_id=decision_id,
        holdback=route.holdback,
        anchor=route.anchor,
    )


def _check_current(transaction: Transaction, before: Route) -> None:
    current = routes.current(transaction, model=before.model)
    if current is None or current["rev"] != before.rev:
        raise Conflict(
            f"Another change of {before.model} was made at the same time.", hint="Check what serves now, then retry."
        )


def _release_held(transaction: Transaction, decision: Decision, after: Route, now: datetime) -> None:
    """Release what the rollback of a version held, because that version serves again."""
    for identity in quarantine.held_after(transaction, decision.model, after.champion):
        reason = f"{decision.model}@{after.champion} serves again, so the votes that its rollback held are released."
        context = DecisionContext(
            reason, decision.trigger, decision.actor, decision.comment, live={"quarantine": identity}
        )
        released = make_decision(decision.model, after.champion, after.champion, Verdict.RELEASED, context, now)
        append(transaction, released)
        quarantine.decide(transaction, identity, "released", actor=decision.actor, comment=decision.comment, time=now)


def _write_canary(
    transaction: Transaction, decision: Decision, canary: NewCanary | RestartedCanary | PausedCanary, now: datetime
) -> None:
    assert decision.to_version is not None
    match canary:
        case PausedCanary():
            live_tests.pause_canary(transaction, model=decision.model, time=now)
            return
        case RestartedCanary(share, score_sd, plan):
            live_tests.restart_canary(
                transaction, model=decision.model, share=share, started=now, score_sd=score_sd, plan=plan
            )
            return
        case NewCanary():
            pass
    live_tests.add_canary(
        transaction,
        run_id=decision.run_id,
        model=decision.model,
        control=canary.control,
        candidate=decision.to_version,
        share=canary.share,
        started=now,
        score_sd=canary.score_sd,
        plan=canary.plan,
        decision=canary.decision,
    )


def _add_holdback(transaction: Transaction, decision: Decision, holdback: NewHoldback, now: datetime) -> None:
    assert decision.to_version is not None and decision.from_version is not None
    live_tests.add_holdback(
        transaction,
        run_id=decision.run_id,
        model=decision.model,
        promoted=decision.to_version,
        held=decision.from_version,
        share=holdback.share,
        score_sd=holdback.score_sd,
        started=now,
        until=holdback.until,
        plan=holdback.plan,
    )


def _withdraw_waiting(transaction: Transaction, decision: Decision, before: Route, after: Route, now: datetime) -> None:
    """End the canary that the new route has no place for, and every run that waits for approval."""
    if before.canary is not None and after.canary is None:
        live_tests.close_canary(transaction, model=before.model, time=now)
    elif before.champion == after.champion:
        return
    reason = f"Withdrawn, because {decision.actor} changed what serves {before.model}: {decision.reason}"
    for run in runs.waiting_to_switch(transaction, model=before.model):
        context = DecisionContext(reason, decision.trigger, decision.actor, run_id=run["id"])
        withdrawn = make_decision(before.model, after.champion, run["candidate"], Verdict.WITHDRAWN, context, now)
        append(transaction, withdrawn)
        set_run_state(transaction, RunState(run["id"], "finished", reason), now)
