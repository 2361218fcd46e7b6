"""Put votes in quarantine, and decide what becomes of them, each with its ledger entry."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.clock import new_id
from core.db import quarantines
from core.db.quarantines import Predicate
from core.errors import NotReady
from core.records import Verdict
from feedback import quarantine
from feedback.bursts import Burst
from feedback.quarantine import Hold
from feedback.tombstones import hash_of
from rollout.change_writer import DecisionContext, EndQuarantine
from rollout.promotion import RouteManager

VERDICTS: dict[quarantine.Outcome, Verdict] = {"released": Verdict.RELEASED, "rejected": Verdict.DISCARDED}
OUTCOMES: dict[quarantine.Outcome, str] = {
    "released": "may be used for training again",
    "rejected": "are permanently left out of training",
}


def preview(routes: RouteManager, models: Sequence[str], predicate: Predicate) -> list[dict[str, Any]]:
    """What holding these votes would hold on each model: votes, those not held already, and voters."""
    quarantine.check(predicate)
    now = routes.clock()
    sizes = {model: quarantine.preview(routes.store, model, predicate, now=now) for model in models}
    return [{"model": model, **asdict(size)} for model, size in sizes.items()]


def hold(
    routes: RouteManager, models: Sequence[str], predicate: Predicate, *, actor: str, comment: str
) -> list[dict[str, Any]]:
    """Put votes in quarantine, on each of these models that has such votes.

    Raises InputError if the predicate fits every vote, NotReady if no model has such votes, and AlreadyDone if exactly
    these are in quarantine.
    """
    found = [row["model"] for row in preview(routes, models, predicate) if row["votes"]]
    if not found:
        raise NotReady(
            f"There is no vote on {', '.join(models)[:200]} of {quarantine.describe(predicate)[:200]}.",
            hint="See: loraloop feedback --by-key, loraloop feedback --by-user",
        )
    for model in found:
        quarantine.require_new(routes.store, model, predicate)
    return [_hold(routes, model, predicate, actor, comment) for model in found]


def _hold(routes: RouteManager, model: str, predicate: Predicate, actor: str, comment: str) -> dict[str, Any]:
    request = Hold(new_id("quar"), (predicate,))
    (unnamed,) = quarantine.without_names([predicate])
    named = {name: value for name, value in _plain(predicate).items() if value is not None}
    reason = f"{actor} put the votes of {quarantine.describe(unnamed)} in quarantine, later ones too."
    context = DecisionContext(reason, "review", actor, comment, live=named | {"quarantine": request.quarantine_id})
    routes.record_decision(model, None, Verdict.QUARANTINED, context, quarantine=request)
    return quarantine.find(routes.store, request.quarantine_id)


def hold_bursts(routes: RouteManager, model: str, bursts: Sequence[Burst], *, run_id: str) -> list[str]:
    """Put the votes of each burst's voters in quarantine, and return the ids of the quarantines.

    A voter whom a quarantine of the model names already is left as a person decided, or as it is held.
    """
    known = quarantines.named_voters(routes.store, model=model)
    made = []
    for burst in bursts:
        predicates = tuple(one for one in burst.predicates if (one.key, one.user) not in known)
        if predicates:
            request = Hold(new_id("quar"), predicates)
            known |= {(one.key, one.user) for one in predicates if one.user is not None}
            reason = f"The votes of {len(predicates)} voters on {model} are in quarantine: {burst.reason}."
            live = {"quarantine": request.quarantine_id, "run": run_id}
            context = DecisionContext(reason, "bursts", live=live)
            routes.record_decision(model, None, Verdict.QUARANTINED, context, quarantine=request)
            made.append(request.quarantine_id)
    return made


def _plain(predicate: Predicate) -> dict[str, str | None]:
    times = {"from": predicate.since, "until": predicate.until}
    return {"key": predicate.key, "user_sha256": None if predicate.user is None else hash_of(predicate.user)} | {
        name: time.isoformat() if time else None for name, time in times.items()
    }


def decide(
    routes: RouteManager, identity: str, outcome: quarantine.Outcome, *, actor: str, comment: str
) -> dict[str, Any]:
    """Release or reject a quarantine. Raises NotFound, or AlreadyDone if that was done already."""
    held = quarantine.find(routes.store, identity)
    identity, model, version = held["id"], held["model"], held["version"]
    predicates = [Predicate(one["key"], one["user"], one["from"], one["until"]) for one in held["predicates"]]
    whose = quarantine.whose(quarantine.without_names(predicates), version)
    context = DecisionContext(
        f"The votes of {whose} {OUTCOMES[outcome]}, decided by {actor}."
        if held["predicates"]
        else f"Votes that only {model}@{version} learned from {OUTCOMES[outcome]}, decided by {actor}.",
        "review",
        actor,
        comment,
        live={"quarantine": identity},
    )
    end = EndQuarantine(identity, outcome)
    made = routes.record_decision(model, version, VERDICTS[outcome], context, quarantine=end)
    return quarantine.find(routes.store, identity) | {"decision_id": made.id, "reason": made.reason}
