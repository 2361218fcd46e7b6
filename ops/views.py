"""Views: what the ops API, the console and the command line show, made once from rows of the store.

It owns names and shapes of shown data; it must not change anything.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.db import decisions as decisions_table
from core.db import evaluations, frozen_models, live_tests, model_states
from core.db import feedback as feedback_table
from core.db import quarantines as quarantines_table
from core.db import runs as runs_table
from core.db import trials as trials_table
from core.db.model_states import ModelState
from core.db.store import Store
from core.errors import NotFound
from core.hash_chain import read_head
from core.ledger import verify_store
from core.settings import ModelSettings
from eval.ledger_evidence import check_fields
from feedback.quarantine import find, with_predicates
from ops.model_changes import ModelChange, Serving
from retrain.progress import describe
from retrain.run_states import allowed_actions, is_working
from retrain.trainer.job import Step
from retrain.triggers import Method, count_new, counted_method, most_new

if TYPE_CHECKING:  # the command line shows views too, and must not load all of control for it
    from ops.blind_labels import BlindLabels
    from ops.control import Control
    from serve.routing.publisher import SwitchResult

View = dict[str, Any]

# A number above that of any row.
NEWEST = 2**62
# With more new votes, a page shows the number of votes instead of the number of answers with one.
MOST_COUNTED = 10_000
# A canary of a day has up to 5,760 looks. A curve needs some, and a table the newest.
MOST_LOOKS, NEWEST_LOOKS = 192, 8


def models(control: "Control", names: Sequence[str] | None = None) -> list[View]:
    """These models, or all, with champion, canary, feedback since the last run, next run, and newest decision.

    The number of queries does not grow with the number of models, but for those with a canary or with many new votes.
    """
    shown = {name: settings_of(control, name) for name in (control.settings.models if names is None else names)}
    store, states = control.store, model_states.of(control.store, list(shown))
    approvals, new = decisions_table.open_approvals(store), most_new(store, shown)
    numbers = [state.newest_decision for state in states.values() if state.newest_decision is not None]
    newest = {row["model"]: summary(row) for row in decisions_table.by_numbers(store, numbers=numbers)}
    waiting = {row["model"]: row["id"] for row in reversed(approvals)}
    found = []
    for name in shown:
        if name not in states:
            raise NotFound("model", name, hint="See: loraloop models")
        more = {"awaiting": waiting.get(name), "newest_decision": newest.get(name)}
        found.append(_model(control, states[name], new[name]) | more)
    return found


def model(control: "Control", name: str) -> View:
    """One model in its present state. Raises NotFound."""
    (found,) = models(control, [name])
    return found


def _model(control: "Control", state: ModelState, at_most: Mapping[Method, int]) -> View:
    route = state.route
    settings = settings_of(control, route.model)
    # Below the threshold and far above it, a page needs no exact count, which compares all new votes with earlier ones.
    least = settings.retrain.min_new_feedback
    most = max(MOST_COUNTED, 10 * least)
    new = count_new(control.store, route.model, settings, least=least, most=most, at_most=at_most)
    return {
        "model": route.model,
        "champion": route.champion,
        "since": state.since,
        "decision": state.since_decision,
        "canary": route.canary,
        "share": route.share if route.canary is not None else None,
        "paused": _paused(control.store, route.model) if route.canary is not None else None,
        "frozen": state.freeze and asdict(state.freeze),
        "anchor": route.compared_with,
        "holdback": _holdback(state),
        "rollback_to": route.previous,
        "limits": control.steps.blocked_with(state),
        "new_feedback": new[counted_method(new, settings)].answers,
        "wanted_feedback": settings.retrain.min_new_feedback,
        "next_run": control.scheduler.next_run(route.model),
        "run": state.run and dict(zip(("id", "state"), state.run, strict=True)),
        "mode": settings.promotion.mode,
        "labels": settings.labels,
    }


def _paused(store: Store, model: str) -> View | None:
    """Since when the canary of a model is paused, and the share of users that it gets when it is resumed."""
    rows = (row for row in live_tests.open_canaries(store) if row["model"] == model and row["paused"])
    return next(({"since": row["paused"], "share": row["share"]} for row in rows), None)


def awaited(store: Store, identity: str) -> View | None:
    """The run that waits for a person to answer this decision, or None."""
    return next((row for row in decisions_table.open_approvals(store) if row["id"] == identity), None)


def _holdback(state: ModelState) -> View | None:
    """The version that still answers a share next to the champion, for whom and until when, with its newest numbers."""
    held = state.holdback
    return held and held | {"numbers": json.loads(held["numbers"]) if held["numbers"] else None}


def summary(row: View) -> View:
    """A row of the promotions list, with the primary KPI old → new where it was measured."""
    body = json.loads(row["body"])
    return {
        "seq": row["seq"],
        "id": row["id"],
        "time": row["time"],
        "model": row["model"],
        "from_version": row["from_version"],
        "to_version": row["to_version"],
        "verdict": row["verdict"],
        "reason": row["reason"],
        "trigger": body["trigger"],
        "actor": body["actor"],
        "run_id": row["run_id"],
        "primary": primary(body["evidence"]),
        "gates": gates(body["evidence"]),
        "hash": row["hash"],
    }


def primary(evidence: View) -> View | None:
    """The primary KPI of champion and candidate with the difference's bounds; None where it was not measured."""
    kpi = evidence.get("primary")
    if kpi is None or kpi not in evidence["differences"]:
        return None
    counted = evidence.get("suites", {}).get(kpi, evidence)
    return {
        "kpi": kpi,
        "champion": evidence["arms"]["champion"][kpi],
        "candidate": evidence["arms"]["candidate"][kpi],
        "difference": evidence["differences"][kpi]["champion"],
        "wanted": _wanted(evidence, kpi),
        "n": counted["n"],
        "users": counted["users"],
    }


def _wanted(evidence: View, kpi: str) -> float:
    """The gain over the champion that the gate requires."""
    for check in evidence.get("gate") or ():
        if check_fields(check) == ("gain", kpi, "champion") and check["threshold"] is not None:
            return float(check["threshold"])
    return 0.0


def gates(evidence: View) -> View | None:
    """How many checks of the offline gate passed, of how many."""
    checks = evidence.get("gate")
    if not checks:
        return None
    return {"passed": sum(check["outcome"] == "pass" for check in checks), "of": len(checks)}


def settings_of(control: "Control", name: str) -> ModelSettings:
    """What the settings say of a model. Raises NotFound."""
    if name not in control.settings.models:
        raise NotFound("model", name, where="in the settings", hint="See: loraloop models")
    return control.settings.models[name]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which decisions to list; None leaves a part open. `before` is the number of the row to go on from."""

    model: str | None = None
    verdict: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


def decisions(store: Store, wanted: Filter, limit: int) -> list[View]:
    """The newest rows of the ledger that pass a filter."""
    rows = decisions_table.page(
        store,
        model=wanted.model,
        verdict=wanted.verdict,
        since=wanted.since,
        until=wanted.until,
        before=NEWEST if wanted.before is None else wanted.before,
        limit=limit,
    )
    return [summary(row) for row in rows]


def ledger_row(store: Store, identity: str) -> View:
    """One row of the ledger as the list of promotions has it. Raises NotFound."""
    return summary(_ledger_row(store, identity))


def _ledger_row(store: Store, identity: str) -> View:
    row = decisions_table.find(store, id=identity)
    if row is None:
        raise NotFound("decision", identity, hint="See: loraloop promotions")
    return row


def decision(store: Store, identity: str) -> View:
    """One row of the ledger with all that it holds, and looks of the canary. Raises NotFound."""
    row = _ledger_row(store, identity)
    related = decisions_table.of_run(store, run_id=row["run_id"]) if row["run_id"] else []
    return (
        summary(row)
        | json.loads(row["body"])
        | {
            "time": row["time"],
            "previous_hash": row["previous_hash"],
            "looks": looks(store, row["run_id"]) if row["run_id"] else [],
            "related": [summary(other) for other in related if other["id"] != row["id"]],
        }
    )


def looks(store: Store, run: str) -> list[View]:
    """Looks of a run's canary since its count began, oldest first. Of many, some in between are left out."""
    found = live_tests.looks(store, run_id=run, most=MOST_LOOKS, newest=NEWEST_LOOKS)
    return [look | {"body": json.loads(look["body"])} for look in found]


def runs(
    store: Store, model: str | None, limit: int, before: datetime | None = None, before_id: str = ""
) -> list[View]:
    """The newest runs, each with its last progress. (`before`, `before_id`) is the run to go on from."""
    found = runs_table.newest(store, model=model, limit=limit, before=before, before_id=before_id)
    last = {step.pop("run_id"): step for step in runs_table.progress(store, runs=[run["id"] for run in found])}
    return [run | {"progress": _with_text(last.get(run["id"]))} for run in found]


def _with_text(step: View | None) -> View | None:
    """The progress of a run with its figures in words."""
    if step is None:
        return None
    return step | {"text": describe(step["phase"], Step(step["done"], step["total"], step["metrics"]))}


def run(store: Store, identity: str) -> View:
    """One run with its steps, each trial of its search, and each KPI by arm. Raises NotFound.

    A trial has its first and its last step. The run's page reads this every 3 seconds, and 200 trials have many steps.
    """
    row = runs_table.find(store, id=identity)
    if row is None:
        raise NotFound("run", identity, hint="See: loraloop runs")
    steps = runs_table.metrics(store, run_id=identity)
    last = runs_table.progress(store, runs=[identity])
    return row | {
        "detail": json.loads(row["detail"]),
        "allowed": allowed_actions(row["state"]),
        "is_working": is_working(row["state"]),
        "progress": _with_text({k: v for k, v in last[0].items() if k != "run_id"}) if last else None,
        "steps": [step | {"metrics": json.loads(step["metrics"])} for step in steps],
        "trials": trials_table.of_run(store, run_id=identity),
        "looks": looks(store, identity),
        "decisions": [summary(other) for other in decisions_table.of_run(store, run_id=identity)],
        "evaluations": evaluations.of_run(store, run_id=identity),
    }


def waiting_feedback(store: Store) -> View:
    """What waits for something that may arrive later: feedback for its interaction, revocations for their feedback."""
    return {"feedback": feedback_table.waiting_by_type(store), "revocations": feedback_table.unmet_revocations(store)}


def feedback(
    store: Store, model: str | None, key: str | None = None, *, by_key: bool = False, by_user: bool = False
) -> list[View]:
    """Feedback by model and type, with what matched no interaction.

    `by_key` counts by the key that gave it too, `by_user` by the voter, that is, the key and the user.
    """
    if by_user:
        return feedback_table.counts_by_user(store, model=model, key=key)
    counts = feedback_table.counts_by_key if by_key else feedback_table.counts
    return counts(store, model=model, key=key)


def quarantines(store: Store, model: str | None) -> list[View]:
    """Every quarantine, newest first, with the number of its votes, of their users, and of votes without one."""
    return with_predicates(store, quarantines_table.newest(store, model=model))


def quarantine(store: Store, identity: str, limit: int, blind: "BlindLabels") -> View:
    """One quarantine with its size and its votes, those of the busiest voters first. Raises NotFound.

    Labels of reviewers that are hidden from the reader have no value.
    """
    found = find(store, identity)
    held = quarantines_table.held(store, id=found["id"], limit=limit)
    votes = [vote | {"value": json.loads(vote["value"])} for vote in held.shown]
    named = [vote | {"model": found["model"], "user_id": vote["who"]} for vote in votes]
    blind.hide(named)
    votes = [{name: row[name] for name in row if name not in ("model", "user_id")} for row in named]
    return found | {"size": {"votes": held.votes, "users": held.users, "unnamed": held.unnamed}, "votes": votes}


def model_change(control: "Control", decision_id: str, switch: "SwitchResult | None" = None) -> ModelChange:
    """What a decision changed on its model, and what serves now. `switch` is how the routes reached the gateways."""
    made = decision(control.store, decision_id)
    route = control.promotion.route(made["model"])
    paused = route.canary is not None and _paused(control.store, route.model) is not None
    frozen = frozen_models.find(control.store, model=route.model) is not None
    changed = ModelChange(
        **{name: made[name] for name in ("model", "verdict", "from_version", "to_version", "reason", "seq", "actor")},
        decision_id=decision_id,
        comment=made["comment"],
        serves=Serving(route.champion, route.canary, route.share, paused, route.holdback, frozen),
        quarantine=made["live"].get("quarantine"),
    )
    if switch is None:
        return changed
    return replace(
        changed, gateways=switch.gateways, in_flight=switch.in_flight, ms=switch.ms, complete=switch.complete
    )


def ledger(store: Store, head: str | None = None) -> View:
    """Whether the ledger is whole, and a head that was once sent out is in it. Raises InputError."""
    return asdict(verify_store(store, read_head(head) if head else None))
