"""What a person may do with a running canary: stop it, pause it, resume it, change its share.

After a pause or with another share, the canary counts its users from zero: users who were in both arms, or who joined
at another share, would bias the comparison. Each new count has half the level of the one before, so that all counts
together promote a worse candidate at most twice as often as one.
"""

import json
from dataclasses import replace
from typing import Any

from core.db import live_tests
from core.db.store import Row
from core.errors import AlreadyDone, Conflict, NotReady
from core.records import Route, Verdict
from core.settings import CanarySettings, ModelSettings
from eval.gates.anchor import anchor_share, shares_compared
from rollout.change_writer import DecisionContext, PausedCanary, RestartedCanary, RunState
from rollout.live_plan import TestPlan, known, load_plan
from rollout.promotion import RouteManager
from rollout.workflow import history
from serve.routing.publisher import SwitchResult


def stop(
    routes: RouteManager, model: str, actor: str, comment: str, *, version: int | None = None, keep_data: bool = False
) -> SwitchResult:
    """End the canary of a model. The champion serves everyone again.

    Raises NotReady if no canary is running, and Conflict if it is not `version`.
    """
    _, canary = _running(routes, model, version)
    kept = json.loads(canary["decision"])
    why = DecisionContext(
        _by("stopped", actor, comment),
        "person",
        actor,
        comment,
        canary["run_id"],
        kept["evidence"],
        kept["lineage"],
        json.loads(canary["numbers"]) if canary["numbers"] else {},
    )
    finished = RunState(canary["run_id"], "finished", why.reason)
    return routes.end_canary(model, canary["candidate"], Verdict.REJECTED, why, run=finished, keep_data=keep_data)


def pause(routes: RouteManager, model: str, actor: str, comment: str, *, version: int | None = None) -> SwitchResult:
    """Have the champion serve everyone until the canary is resumed. Its time limit does not run then.

    Raises as `stop`, AlreadyDone if it is paused, and NotReady if it waits for approval.
    """
    route, canary = _counting(routes, model, version)
    if canary["paused"]:
        raise AlreadyDone(f"The canary of {model} is already paused.", hint=f"Resume: loraloop canary resume {model}")
    reason = f"{_sentence('paused', actor, comment)} {model}@{route.champion} serves everyone until it is resumed."
    why = DecisionContext(reason, "person", actor, comment, canary["run_id"])
    return routes.change_canary(route, Verdict.CANARY_PAUSED, why, PausedCanary())


def resume(
    routes: RouteManager,
    model: str,
    model_settings: ModelSettings,
    actor: str,
    comment: str,
    *,
    version: int | None = None,
) -> SwitchResult:
    """Serve a paused canary again, to the share of users that it had. Its count begins from zero.

    Raises as `stop`, and NotReady if it is not paused.
    """
    route, canary = _counting(routes, model, version)
    if not canary["paused"]:
        raise NotReady(f"The canary of {model} is not paused.", hint="What serves now: loraloop models")
    return _restart(routes, route, canary, model_settings, canary["share"], Verdict.CANARY_RESUMED, actor, comment)


def set_share(
    routes: RouteManager,
    model: str,
    model_settings: ModelSettings,
    share: float,
    actor: str,
    comment: str,
    *,
    version: int | None = None,
) -> SwitchResult:
    """Serve a canary to another share of users, above 0 and at most 0.5. Its count begins from zero.

    Raises as `stop`, AlreadyDone if it has that share, and NotReady if it is paused.
    """
    route, canary = _counting(routes, model, version)
    if canary["paused"]:
        raise NotReady(f"The canary of {model} is paused.", hint=f"Resume it first: loraloop canary resume {model}")
    if canary["share"] == share:
        raise AlreadyDone(f"The canary of {model} already serves {100 * share:g}% of users.")
    return _restart(routes, route, canary, model_settings, share, Verdict.SHARE_CHANGED, actor, comment)


def restarted(plan: TestPlan[CanarySettings], share: float, past: dict[str, Any] | None) -> TestPlan[CanarySettings]:
    """The plan of a canary whose count begins again with this share: half the level, the same settings otherwise."""
    settings = plan.settings.model_copy(update={"share": share})
    compared, to_anchor = shares_compared(share) if plan.anchor else (share, share)
    tuned = known(past)
    again = replace(plan.plan, share=compared, alpha=plan.plan.alpha / 2, **tuned)
    anchor = plan.anchor
    if anchor:
        anchor = replace(anchor, plan=replace(anchor.plan, share=to_anchor, alpha=anchor.plan.alpha / 2, **tuned))
    return replace(plan, settings=settings, plan=again, anchor=anchor)


def _restart(
    routes: RouteManager,
    route: Route,
    canary: Row,
    model_settings: ModelSettings,
    share: float,
    verdict: Verdict,
    actor: str,
    comment: str,
) -> SwitchResult:
    model, settings = route.model, model_settings.promotion.canary
    if settings is None:
        raise NotReady(f"Canaries of {model} were switched off in the settings.", hint="This one is about to end.")
    fixed = load_plan(canary["plan"], settings, canary["share"], canary["score_sd"])
    plan = restarted(fixed, share, history(routes.store, model, routes.clock()))
    did = "resumed" if verdict == Verdict.CANARY_RESUMED else f"set from {100 * canary['share']:g}% of users"
    reason = (
        f"{_sentence(did, actor, comment)} It serves {100 * share:g}% of users. Its count begins from zero, "
        f"at the level {plan.plan.alpha:g}."
    )
    live = {"plan": plan.plain(), "share": share}
    why = DecisionContext(reason, "person", actor, comment, canary["run_id"], live=live)
    change = RestartedCanary(
        share, plan.plan.score_sd, json.dumps(plan.plain()), anchor_share(share) if plan.anchor else 0.0
    )
    return routes.change_canary(route, verdict, why, change)


def _running(routes: RouteManager, model: str, version: int | None) -> tuple[Route, Row]:
    # The route is read first: if anything changes after that, the change of this route is refused.
    route = routes.route(model)
    canary = next((row for row in live_tests.open_canaries(routes.store) if row["model"] == model), None)
    if route.canary is None or canary is None:
        raise NotReady(f"{model} has no canary.", hint=f"What serves now: loraloop models. Back: rollback {model}")
    candidate = canary["candidate"]
    if version not in (None, candidate):
        raise Conflict(f"{model}@{version} is not the canary of {model}; {model}@{candidate} is. Nothing was done.")
    return route, canary


def _counting(routes: RouteManager, model: str, version: int | None) -> tuple[Route, Row]:
    route, canary = _running(routes, model, version)
    if canary["state"] == "awaiting_approval":
        said = f"The canary of {model} has passed, and {model}@{canary['candidate']} waits for approval."
        raise NotReady(said, hint="See: loraloop promotions. To end it: loraloop canary stop")
    return route, canary


def _by(did: str, actor: str, comment: str) -> str:
    return f"The canary was {did} by {actor}: {comment}" if comment else f"The canary was {did} by {actor}."


def _sentence(did: str, actor: str, comment: str) -> str:
    said = _by(did, actor, comment)
    return said if said.endswith((".", "!", "?")) else f"{said}."
