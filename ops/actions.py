"""Actions: what people may do to a model by API, CLI or console: retrain, promote, roll back, change a canary, freeze.

It owns what the ledger learns of who did it; what follows is the steps' and promotion's. It must not know HTTP.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from core.db.quarantines import Predicate
from core.errors import AlreadyDone, InputError
from feedback.quarantine import Outcome
from ops import views
from ops.control import Control
from ops.model_changes import ModelChange
from retrain.interruptions import Interruption, Kind
from retrain.suite_run import SuiteRequest
from rollout import canary_changes, frozen_models, quarantine_review
from rollout.change_writer import DecisionContext
from serve.routing.publisher import SwitchResult

# Longest wait until a run has ended or paused, in seconds. A training step is mostly shorter.
WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class By:
    """Who does something, and why; both go into the ledger."""

    actor: str
    comment: str = ""


class Actions:
    """Everything that a person may do. Each blocks until gateways have what changed; not for an event loop."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def retrain(self, model: str, by: By) -> str:
        """Queue a run and return its id. Raises NotFound, or RunInProgress while one is under way."""
        self._control.promotion.route(model)
        views.settings_of(self._control, model)
        return self._control.scheduler.start_run(model, "asked for", by.actor, by.comment)

    def interrupt_run(self, identity: str, kind: Kind, by: By) -> views.View:
        """Cancel or pause a run, and return it. Raises NotFound; AlreadyDone or NotReady where it cannot be done.

        Returns after WAIT_SECONDS at the latest, also where a step of the run takes longer.
        """
        interruptions = self._control.scheduler.pipeline.interruptions
        interruptions.request(identity, Interruption(kind, by.actor, by.comment), WAIT_SECONDS)
        return views.run(self._control.store, identity)

    def resume_run(self, identity: str, by: By) -> views.View:
        """Queue a paused run, and return it. Raises NotFound, or NotReady if it is not paused."""
        self._control.scheduler.continue_run(identity, by.actor, by.comment)
        return views.run(self._control.store, identity)

    def evaluate(self, model: str, version: int | None, suites: list[str], by: By) -> SuiteRequest:
        """Queue suites of a version or of the champion. Raises NotFound, or RunInProgress during a run."""
        views.settings_of(self._control, model)
        suites_of = self._control.scheduler.pipeline.suites
        with self._control.scheduler.reserve(model) as queue:
            wanted = suites_of.prepare(model, version, suites, by.actor, by.comment)
            queue(partial(suites_of.measure, wanted))
        return wanted

    def roll_back(self, model: str, to: int | None, by: By, *, keep_data: bool = False) -> ModelChange:
        """Puts an earlier version back; none means the one that served before.

        While a canary runs and no version is named, the canary ends and the champion stays: what is new is the likely
        cause. Votes against the version that leaves go to quarantine if they were a burst or contradict others, unless
        `keep_data`.
        """
        if to is None and self._control.promotion.route(model).canary is not None:
            return self.stop_canary(model, None, by, keep_data=keep_data)
        why = DecisionContext(f"Rolled back by {by.actor}.", "person", by.actor, by.comment)
        return self._switched(self._control.promotion.roll_back(model, to, why, keep_data=keep_data))

    def stop_canary(self, model: str, version: int | None, by: By, *, keep_data: bool = False) -> ModelChange:
        """Ends the canary of a model; the champion serves everyone again. Raises NotReady if there is none."""
        done = canary_changes.stop(
            self._control.promotion, model, by.actor, by.comment, version=version, keep_data=keep_data
        )
        return self._switched(done)

    def pause_canary(self, model: str, version: int | None, by: By) -> ModelChange:
        """Has the champion serve everyone until the canary is resumed. Raises NotReady if there is none."""
        done = canary_changes.pause(self._control.promotion, model, by.actor, by.comment, version=version)
        return self._switched(done)

    def resume_canary(self, model: str, version: int | None, by: By) -> ModelChange:
        """Serves a paused canary again; its count begins from zero. Raises NotReady if it is not paused."""
        routes, settings = self._control.promotion, views.settings_of(self._control, model)
        done = canary_changes.resume(routes, model, settings, by.actor, by.comment, version=version)
        return self._switched(done)

    def set_canary_share(self, model: str, version: int | None, share: float, by: By) -> ModelChange:
        """Serves a canary to another share of users; its count begins from zero. Raises NotReady if it is paused."""
        routes, settings = self._control.promotion, views.settings_of(self._control, model)
        done = canary_changes.set_share(routes, model, settings, share, by.actor, by.comment, version=version)
        return self._switched(done)

    def freeze(self, model: str, by: By) -> ModelChange:
        """Lets no candidate of a model get users automatically. Raises AlreadyDone if it is frozen."""
        made = frozen_models.freeze(self._control.promotion, model, by.actor, by.comment)
        return views.model_change(self._control, made)

    def unfreeze(self, model: str, by: By) -> ModelChange:
        """Ends the freeze of a model. Raises NotReady if it is not frozen."""
        made = frozen_models.unfreeze(self._control.promotion, model, by.actor, by.comment)
        return views.model_change(self._control, made)

    def promote(self, model: str, version: int, by: By) -> ModelChange:
        """Puts a version in service past the gate."""
        return self._switched(self._control.steps.promote_by_hand(model, version, by.actor, by.comment))

    def approve(self, identity: str, by: By) -> ModelChange:
        """Lets what a decision asks for happen. Raises AlreadyDone for a decision that asks for nothing."""
        return self._switched(self._control.steps.approve(identity, by.actor, by.comment))

    def reject(self, identity: str, by: By, *, keep_data: bool = False) -> ModelChange:
        """Rejects what a decision asks for. A comment is required.

        Votes against the candidate go to quarantine if they were a burst or contradict others, unless `keep_data`.
        """
        if not by.comment:
            raise InputError("comment: say why it is rejected.")
        made, switch = self._control.steps.reject(identity, by.actor, by.comment, keep_data=keep_data)
        return views.model_change(self._control, made, switch)

    def review(self, identity: str, outcome: Outcome, by: By) -> dict[str, Any]:
        """Lets the votes of a quarantine be learnt from, or leaves them out. Raises AlreadyDone if that was done."""
        return quarantine_review.decide(self._control.promotion, identity, outcome, actor=by.actor, comment=by.comment)

    def awaiting(self, identity: str) -> tuple[views.View, views.View]:
        """(run, decision) that wait for approval. Raises NotFound or AlreadyDone."""
        wanted = views.decision(self._control.store, identity)
        run = views.awaited(self._control.store, wanted["id"])
        if run is None:
            raise AlreadyDone(f"Decision {identity[:64]} waits for nobody.", hint="See: loraloop promotions")
        return run, wanted

    def preview_hold(self, model: str | None, predicate: Predicate) -> list[dict[str, Any]]:
        """What holding these votes would hold on a model, or on every model. Raises NotFound or InputError."""
        return quarantine_review.preview(self._control.promotion, self._models(model), predicate)

    def hold(self, model: str | None, predicate: Predicate, by: By) -> list[dict[str, Any]]:
        """Puts votes on a model, or on every model, in quarantine.

        Raises NotFound, InputError for a predicate that fits every vote, NotReady if there are no such votes.
        """
        return quarantine_review.hold(
            self._control.promotion, self._models(model), predicate, actor=by.actor, comment=by.comment
        )

    def _switched(self, switch: SwitchResult) -> ModelChange:
        return views.model_change(self._control, switch.decision_id, switch)

    def _models(self, model: str | None) -> list[str]:
        if model is None:
            return list(self._control.settings.models)
        self._control.promotion.route(model)
        return [model]
