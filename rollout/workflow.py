"""The steps of a candidate from its offline gate to serving everyone: cooldown, approval, canary, switch, holdback.

Gates judge and a person approves where the settings require it. This module decides which step follows.
"""

import json
import math
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from core.clock import Clock
from core.db import decisions, frozen_models, live_tests, model_states, runs
from core.db.model_states import ModelState
from core.db.store import Store
from core.errors import AlreadyDone, NotFound, NotReady
from core.records import Verdict
from core.settings import CanarySettings, ModelSettings, PromotionSettings
from eval.gates.anchor import anchor_share
from eval.gates.live_arms import Plan
from eval.gates.offline import spent_level
from rollout.anchor import anchor_by_hand, anchor_served, anchor_to_serve, anchor_without_canary, is_anchor
from rollout.change_writer import DecisionContext, NewCanary, NewHoldback, RunState
from rollout.cooldown import blocking_reason, history_of
from rollout.forecast import Expected, Traffic, expected_length, expected_length_with_anchor
from rollout.live_plan import create_plan, known
from rollout.promotion import RouteManager
from serve.routing.publisher import SwitchResult

Step = Literal["canary", "switch"]


def history(store: Store, model: str, before: datetime) -> dict[str, Any] | None:
    """What the month before a live test says of users; it tunes the sequence and never makes it invalid."""
    return live_tests.score_history(store, model=model, before=before)


def traffic(store: Store, model: str, before: datetime) -> Traffic:
    """The last week's traffic of a model; what a short history says counts as a day's."""
    row = live_tests.traffic_history(store, model=model, before=before)
    users, days = row["users"], max(row["days"], 1.0)
    usual = Plan(0.5, **known(history(store, model, before)))
    return Traffic(
        users / days,
        row["requests"] / users if users else 0.0,
        row["rate_mean"] or 0.0,
        row["rate_sd"] or 0.0,
        usual.score_sd,
        row["covariance"] or 0.0,
    )


def forecast(expected: Expected, canary: CanarySettings) -> str:
    """What a canary will likely need, in a sentence, and for which candidate that holds."""
    candidate = "better by the margin" if canary.strict else "equal to the champion"
    about = f"Forecast for a candidate {candidate}, at last week's traffic"
    if not math.isfinite(expected.days):
        return f"{about}: the canary is unlikely to reach an answer ({expected.binds} would decide)."
    late = f", more than its limit of {canary.max_hours:g} h" if expected.days * 24 > canary.max_hours else ""
    return (
        f"{about}: {expected.requests:,.0f} requests from {expected.users:,.0f} users, {_duration(expected.days)}"
        f"{late}. A clear gain ends the canary sooner."
    )


def _duration(days: float) -> str:
    hours = 24 * days
    if hours < 1:
        return f"{60 * hours:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{days:.1f} days"


class RolloutWorkflow:
    """Takes candidates from step to step."""

    def __init__(
        self, *, store: Store, promotion: RouteManager, models: dict[str, ModelSettings], clock: Clock
    ) -> None:
        self.store = store
        self.promotion = promotion
        self.models = models
        self.clock = clock

    def blocked_by(self, model: str) -> str | None:
        """Why no candidate of the model may take over now, or None."""
        state = model_states.of(self.store, [model]).get(model)
        return self.blocked_with(state) if state else None

    def blocked_with(self, state: ModelState) -> str | None:
        """Like `blocked_by`, for a caller that has read the state of the model already."""
        model = state.route.model
        return blocking_reason(model, history_of(state), self._settings(model).limits, self.clock())

    def may_begin(self, model: str, trigger: str) -> bool:
        """Whether a run is worth starting; if limits would hold its candidate, the ledger says so once a cause."""
        reason = self.blocked_by(model)
        if reason is None:
            return True
        if not decisions.has_reason(self.store, model=model, verdict=Verdict.SKIPPED, reason=reason):
            self.promotion.record_decision(model, None, Verdict.SKIPPED, DecisionContext(reason, trigger))
        return False

    def passed_offline(self, model: str, candidate: int, champion: int, why: DecisionContext) -> None:
        """What follows when the offline gate lets a candidate of a run past this champion."""
        settings = self._settings(model)
        serving = self.promotion.route(model).champion
        held = self.blocked_by(model)
        if serving != champion:
            held = f"It was judged against {model}@{champion}, but {model}@{serving} serves now."
        if held:
            finished = RunState(why.run_id, "finished", held)
            self.promotion.record_decision(model, candidate, Verdict.SKIPPED, replace(why, reason=held), run=finished)
        elif settings.canary is None:
            said = {"anchor": anchor_without_canary(model, candidate)}
            self._switch(model, candidate, champion, replace(why, live=why.live | said))
        elif settings.canary.start == "approve":
            self._ask(model, candidate, "canary", self._foreseen(model, settings.canary, why))
        else:
            self._begin_canary(model, candidate, champion, settings.canary, why)

    def passed_canary(self, model: str, candidate: int, champion: int, why: DecisionContext) -> None:
        """What follows when the canary gate lets a candidate past the champion."""
        self._switch(model, candidate, champion, why)

    def approve(self, identity: str, actor: str, comment: str) -> SwitchResult:
        """Lets what a decision asks for happen. Raises NotReady or Conflict with the reason when it no longer can."""
        wanted, why = self._awaited(identity, actor, comment)
        model, candidate, champion = wanted["model"], wanted["to_version"], wanted["from_version"]
        settings = self._settings(model)
        if wanted["live"].get("step") == "canary":
            if settings.canary is None:
                raise NotReady(
                    f"Canaries of {model} were switched off in the settings.", hint="Reject it, and retrain."
                )
            return self._begin_canary(model, candidate, champion, settings.canary, why)
        return self._promote(model, candidate, champion, why)

    def reject(
        self, identity: str, actor: str, comment: str, *, keep_data: bool = False
    ) -> tuple[str, SwitchResult | None]:
        """Reject a candidate that awaits approval. Its newest votes go to quarantine, unless `keep_data`.

        Returns the id of the decision, and how the routes changed if the candidate was a canary.
        """
        wanted, why = self._awaited(identity, actor, comment)
        why = replace(why, reason=f"Rejected by {actor}: {comment}")
        return self._turn_away(wanted["model"], wanted["to_version"], Verdict.REJECTED, why, keep_data=keep_data)

    def promote_by_hand(self, model: str, version: int, actor: str, comment: str) -> SwitchResult:
        """Puts a version in service because a person says so; the ledger lists what was waived for it."""
        waived = ["offline gate", "canary", "holdback"]
        held = self.blocked_by(model) if model in self.models else None
        waived += [f"limits: {held}"] if held else []
        live = {"waived": waived, "anchor": anchor_by_hand(model, version, actor)}
        why = DecisionContext(f"Put in service by {actor}, past the gate.", "person", actor, comment, live=live)
        return self.promotion.promote(model, version, why)

    def lapse(self, waiting: dict[str, Any]) -> None:
        """Withdraws what nobody approved in time. Time does not count against a model that is frozen."""
        if frozen_models.find(self.store, model=waiting["model"]):
            return
        hours = self._settings(waiting["model"]).approval_hours
        if self.clock() >= waiting["time"] + timedelta(hours=hours):
            why = DecisionContext(f"Nobody approved it within {hours:g} h.", "approval", run_id=waiting["run_id"])
            self._turn_away(waiting["model"], waiting["candidate"], Verdict.WITHDRAWN, why)

    def _settings(self, model: str) -> PromotionSettings:
        return self.models[model].promotion

    def _switch(self, model: str, candidate: int, champion: int, why: DecisionContext) -> None:
        if self._settings(model).mode == "approve":
            self._ask(model, candidate, "switch", why)
        else:
            self._promote(model, candidate, champion, why)

    def _ask(self, model: str, candidate: int, step: Step, why: DecisionContext) -> None:
        lapses = self.clock() + timedelta(hours=self._settings(model).approval_hours)
        asked = replace(why, live=why.live | {"step": step, "lapses": lapses.isoformat()})
        waiting = RunState(why.run_id, "awaiting_approval")
        self.promotion.record_decision(model, candidate, Verdict.AWAITING_APPROVAL, asked, run=waiting)

    def _begin_canary(
        self, model: str, candidate: int, champion: int, settings: CanarySettings, why: DecisionContext
    ) -> SwitchResult:
        why = self._foreseen(model, settings, why)
        past, route = history(self.store, model, self.clock()), self.promotion.route(model)
        anchor = anchor_to_serve(self.store, route, settings)
        plan = create_plan(settings, settings.share, self.models[model], past, anchor)
        canary = NewCanary(
            control=champion,
            share=settings.share,
            score_sd=plan.plan.score_sd,
            plan=json.dumps(plan.plain()),
            decision=json.dumps({"evidence": why.evidence, "lineage": why.lineage, "offline": why.reason}),
            anchor_share=anchor_share(settings.share) if anchor else 0.0,
        )
        if anchor:
            said = anchor_served(model, champion, anchor, settings)
            why = replace(why, reason=f"{why.reason} {said['sentence']}", live=why.live | {"anchor": said})
        why = replace(why, live=why.live | {"plan": plan.plain()})
        running = RunState(why.run_id, "canary")
        return self.promotion.start_canary(
            model, candidate, settings.share, why, over=champion, canary=canary, run=running
        )

    def _foreseen(self, model: str, canary: CanarySettings, why: DecisionContext) -> DecisionContext:
        """Add the forecast to the context, unless the request for approval had it already."""
        if "forecast" in why.live:
            return why
        anchor = anchor_to_serve(self.store, self.promotion.route(model), canary)
        usual, alpha = traffic(self.store, model, self.clock()), self._settings(model).alpha
        if anchor:
            found = expected_length_with_anchor(usual, canary, alpha, spent_level(alpha, anchor.use))
        else:
            found = expected_length(usual, canary, alpha)
        plain = {
            name: round(value, 2) if math.isfinite(value) else None
            for name, value in asdict(found).items()
            if isinstance(value, float)
        }
        said = plain | {"binds": found.binds, "sentence": forecast(found, canary)}
        return replace(why, reason=f"{why.reason} {said['sentence']}", live=why.live | {"forecast": said})

    def _promote(self, model: str, candidate: int, champion: int, why: DecisionContext) -> SwitchResult:
        settings, now = self._settings(model).holdback, self.clock()
        plan = settings and create_plan(
            settings, 1 - settings.share, self.models[model], history(self.store, model, now)
        )
        holdback = None
        if settings and plan:
            until = now + timedelta(hours=settings.hours)
            holdback = NewHoldback(settings.share, until, plan.plan.score_sd, json.dumps(plan.plain()))
        live = why.live | {
            "rollback_target": champion,
            "holdback": settings.model_dump() if settings else None,
            "holdback_plan": plan.plain() if plan else None,
        }
        finished = RunState(why.run_id, "finished", why.reason)
        return self.promotion.promote(
            model,
            candidate,
            replace(why, live=live),
            over=champion,
            holdback=holdback,
            run=finished,
            is_anchor=is_anchor(candidate, live),
        )

    def _turn_away(
        self, model: str, candidate: int, verdict: Verdict, why: DecisionContext, *, keep_data: bool = False
    ) -> tuple[str, SwitchResult | None]:
        finished = RunState(why.run_id, "finished", why.reason)
        if self.promotion.route(model).canary == candidate:
            switch = self.promotion.end_canary(model, candidate, verdict, why, run=finished, keep_data=keep_data)
            return switch.decision_id, switch
        made = self.promotion.record_decision(model, candidate, verdict, why, run=finished, keep_data=keep_data)
        return made.id, None

    def _awaited(self, identity: str, actor: str, comment: str) -> tuple[dict[str, Any], DecisionContext]:
        """The decision that awaits approval, and the context of the person who decides. Raises AlreadyDone."""
        row = decisions.find(self.store, id=identity)
        if row is None:
            raise NotFound("decision", identity, hint="See: loraloop promotions")
        wanted = json.loads(row["body"])
        waiting = {entry["run_id"]: entry["id"] for entry in decisions.open_approvals(self.store)}
        if waiting.get(row["run_id"]) != row["id"]:
            run = runs.find(self.store, id=row["run_id"]) if row["run_id"] else None
            became = f" Its run ended: {run['reason']}" if run and run["reason"] else ""
            raise AlreadyDone(f"Decision {identity} waits for nobody.{became}", hint="See: loraloop promotions")
        why = DecisionContext(
            wanted["reason"],
            "person",
            actor,
            comment,
            wanted["run_id"],
            wanted["evidence"],
            wanted["lineage"],
            wanted["live"],
        )
        return wanted, why
