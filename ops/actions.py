"""Actions: what people may do to a model, whoever asked by whatever way: retrain, promote, roll back, approve, reject.

It owns what each asks of promotion and what the ledger learns of who did it; it must not know HTTP.
"""

from dataclasses import asdict, dataclass
from typing import Any

from core.errors import NotReady
from core.records import Verdict
from core.store import Transaction
from eval.promotion import Also, Why
from ops import views
from ops.control import Control


@dataclass(frozen=True, slots=True)
class By:
    """Who does something, and why; both go into the ledger."""

    actor: str
    comment: str = ""


class Actions:
    """Everything that a person may do."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def retrain(self, model: str, by: By) -> None:
        """Queues a run. Raises UnknownModel, or NotReady while one is under way."""
        self._control.promotion.route(model)
        views.settings_of(self._control, model)
        if not self._control.scheduler.start_run(model, "asked for", by.actor):
            raise NotReady(f"A run of {model} is under way.", hint=f"See: loraloop runs {model}")

    def roll_back(self, model: str, to: int | None, by: By) -> dict[str, Any]:
        """Puts an earlier version back; none means the one that served before."""
        why = _why(f"Rolled back by {by.actor}.", by)
        return asdict(self._control.promotion.roll_back(model, to, why))

    def promote(self, model: str, version: int, by: By) -> dict[str, Any]:
        """Puts a version in service past the gate."""
        why = _why(f"Put in service by {by.actor}, past the gate.", by)
        return asdict(self._control.promotion.promote(model, version, why))

    def approve(self, identity: str, by: By) -> dict[str, Any]:
        """Lets the candidate of a decision that waits for it take over. Raises NotReady for any other."""
        run, wanted = self.awaiting(identity)
        why = _why(wanted["reason"], by, wanted)
        closing = self._closing(run["id"], why.reason)
        return asdict(self._control.promotion.promote(run["model"], run["candidate"], why, closing))

    def reject(self, identity: str, by: By) -> dict[str, Any]:
        """Turns the candidate of a decision that waits for approval away. Raises NotReady for any other."""
        run, wanted = self.awaiting(identity)
        why = _why(f"Rejected by {by.actor}.", by, wanted)
        closing = self._closing(run["id"], why.reason)
        promotion, model, candidate = self._control.promotion, run["model"], run["candidate"]
        if promotion.route(model).canary == candidate:
            promotion.end_canary(model, candidate, Verdict.REJECTED, why, closing)
        else:
            promotion.note(model, candidate, Verdict.REJECTED, why, closing)
        return {"model": model, "version": candidate, "verdict": str(Verdict.REJECTED)}

    def awaiting(self, identity: str) -> tuple[views.View, views.View]:
        """(run, decision) that wait for approval. Raises UnknownDecision or NotReady."""
        wanted = views.decision(self._control.store, identity)
        run = self._control.store.row("run_awaiting", id=wanted["run_id"])
        if wanted["verdict"] != Verdict.AWAITING_APPROVAL or run is None:
            raise NotReady(f"Decision {identity[:64]} waits for nobody.", hint="See: loraloop promotions")
        return run, wanted

    def _closing(self, run_id: str, reason: str) -> Also:
        def close(transaction: Transaction) -> None:
            transaction.run("run_state", id=run_id, state="finished", time=self._control.clock(), reason=reason)

        return close


def _why(reason: str, by: By, wanted: views.View | None = None) -> Why:
    kept = wanted or {"run_id": None, "evidence": {}, "lineage": {}, "live": {}}
    return Why(reason, "person", by.actor, by.comment, kept["run_id"], kept["evidence"], kept["lineage"], kept["live"])
