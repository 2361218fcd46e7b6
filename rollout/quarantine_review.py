"""Put votes in quarantine, and decide what becomes of them, each with its ledger entry."""

from typing import Any

from core.clock import new_id
from core.records import Verdict
from feedback import quarantine
from rollout.changes import DecisionContext, EndQuarantine, HoldKey
from rollout.routes import RouteManager

VERDICTS: dict[quarantine.Outcome, Verdict] = {"released": Verdict.RELEASED, "rejected": Verdict.DISCARDED}
OUTCOMES: dict[quarantine.Outcome, str] = {
    "released": "may be used for training again",
    "rejected": "are permanently left out of training",
}


def hold_key(routes: RouteManager, model: str, key_id: str, *, actor: str, comment: str) -> dict[str, Any]:
    """Put every vote of a key on a model in quarantine. Raises NotFound, or NotReady if there are none."""
    reason = f"{actor} put the votes of the key {key_id} in quarantine."
    context = DecisionContext(reason, "review", actor, comment, live={"key": key_id})
    hold = HoldKey(key_id, new_id("quar"))
    routes.record_decision(model, None, Verdict.QUARANTINED, context, quarantine=hold)
    return quarantine.find(routes.store, hold.quarantine_id)


def decide(
    routes: RouteManager, identity: str, outcome: quarantine.Outcome, *, actor: str, comment: str
) -> dict[str, Any]:
    """Release or reject a quarantine. Raises NotFound, or AlreadyDone if that was done already."""
    held = quarantine.find(routes.store, identity)
    identity, model, version = held["id"], held["model"], held["version"]
    votes = f"Votes of the key {held['key']}" if held["key"] else f"Votes that only {model}@{version} learned from"
    context = DecisionContext(
        f"{votes} {OUTCOMES[outcome]}, decided by {actor}.", "review", actor, comment, live={"quarantine": identity}
    )
    end = EndQuarantine(identity, outcome)
    routes.record_decision(model, version, VERDICTS[outcome], context, quarantine=end)
    return quarantine.find(routes.store, identity)
