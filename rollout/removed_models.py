"""End what is open for a model that the settings do not name any more."""

import logging
from dataclasses import replace
from datetime import datetime

from core.db import live_tests, runs
from core.db.store import Store
from core.ledger import append
from core.records import Route, Verdict
from core.route_check import recorded_route
from rollout.change_writer import DecisionContext, RunState, make_decision, set_run_state, write_route

log = logging.getLogger(__name__)


def retire(store: Store, route: Route, now: datetime) -> None:
    """End everything that is open for a model that the settings do not name. Its engines may be gone."""
    reason = f"{route.model} is not in the settings any more, so it is not served."
    held = live_tests.holdback_of(store, model=route.model)
    waiting = runs.waiting_to_switch(store, model=route.model)
    ended = [(run["id"], run["candidate"]) for run in waiting]
    if held:
        ended.append((held["run_id"], held["promoted"]))
    if not ended and route.canary is None and not route.holdback:
        return
    ended = ended or [(None, route.canary)]
    after = replace(route, rev=route.rev + 1, canary=None, share=0.0, holdback=0.0)
    with store.transaction() as transaction:
        context = DecisionContext(reason, "settings", "control", live={"route": recorded_route(after)})
        made = [
            make_decision(route.model, route.champion, version, Verdict.WITHDRAWN, replace(context, run_id=run_id), now)
            for run_id, version in ended
        ]
        for decision in made:
            append(transaction, decision)
        for run in waiting:
            set_run_state(transaction, RunState(run["id"], "finished", reason), now)
        live_tests.close_canary(transaction, model=route.model, time=now)
        live_tests.close_holdback(transaction, model=route.model, time=now)
        write_route(transaction, after, made[-1].id, now)
    log.warning("%s", reason)
