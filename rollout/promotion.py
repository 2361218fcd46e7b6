"""Change which versions serve a model. No other module does.

Every change is a compare-and-swap of the model's route with its ledger entry. Whether a change is right is decided by
the gates, a person or the settings.
"""

import json
import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

from core.clock import Clock, new_id
from core.db import routes, versions
from core.db.store import Store, Transaction
from core.errors import AlreadyDone, Conflict, NotFound, NotReady
from core.ledger import append
from core.records import Decision, Route, Verdict, Version
from feedback.quarantine import Hold, suspects
from rollout.change_writer import (
    Change,
    DecisionContext,
    EndQuarantine,
    NewCanary,
    NewHoldback,
    PausedCanary,
    RestartedCanary,
    RunState,
    apply_change,
    make_decision,
    write_route,
)
from rollout.loaded_adapters import LoadedAdapters
from rollout.removed_models import retire
from rollout.routing_table import build_table
from rollout.switch_report import report_interrupted_switch, report_switch
from serve.retrieval.retriever import read_retrieval
from serve.routing.publisher import RoutePublisher, SwitchResult

log = logging.getLogger(__name__)

# Requests that fail this long after a switch count as its failures, in seconds.
SETTLE_SECONDS = 2.0
# After these verdicts, the votes that the version's own votes indict go to quarantine.
REFUSED = (Verdict.ROLLED_BACK, Verdict.REJECTED)


class RouteManager:
    """The routes of all models. Methods that change a route block until every gateway has the new table."""

    def __init__(
        self,
        *,
        store: Store,
        board: RoutePublisher,
        engines: LoadedAdapters,
        base_name: str,
        clock: Clock,
        settle_s: float | None = None,
        find_withheld: Callable[[Sequence[Version]], Mapping[str, tuple[int, ...]]] = lambda _: {},
    ) -> None:
        self.store = store
        self.board = board
        self.engines = engines
        self.base_name = base_name
        self.clock = clock
        self.settle_s = SETTLE_SECONDS if settle_s is None else settle_s
        self._publishing = threading.Lock()
        self._models: frozenset[str] = frozenset()
        self.find_withheld = find_withheld  # entries that gateways must not show, by the retrieval's hash
        self._audit_shares: Mapping[str, float] = {}

    def sync_models(self, models: list[str], audit_shares: Mapping[str, float] | None = None) -> None:
        """Serve exactly these models: give each a version 0 and a route if it has none, and publish.

        A model that is not in the list is served no more; its canary, holdback and approvals end.
        """
        self._models, self._audit_shares = frozenset(models), audit_shares or {}
        for row in routes.all_current(self.store):
            if row["model"] not in self._models:
                retire(self.store, Route(**row), self.clock())
        for model in models:
            if routes.current(self.store, model=model):
                continue
            with self.store.transaction() as transaction:
                base = Version(model, 0, f"{self.base_name}#{model}", None, None, 0, None, "base")
                self.add_version(transaction, base)
                route = Route(model, 1, 0, None, 0.0, None, secrets.token_hex(8), anchor=0)
                write_route(transaction, route, None, self.clock())
        self.publish()

    def add_version(self, transaction: Transaction, version: Version) -> None:
        """Add a version to the store."""
        versions.add(transaction, **asdict(version), time=self.clock())

    def import_version(self, transaction: Transaction, version: Version, context: DecisionContext) -> Decision:
        """Add a version that no run made, with its ledger entry. It serves nobody yet."""
        champion = self.route(version.model).champion
        decision = make_decision(version.model, champion, version.version, Verdict.IMPORTED, context, self.clock())
        self.add_version(transaction, version)
        append(transaction, decision)
        return decision

    def route(self, model: str) -> Route:
        """The current route of a model. Raises NotFound."""
        row = routes.current(self.store, model=model)
        if row is None:
            raise NotFound("model", model, hint="See: loraloop models")
        return Route(**row)

    def version(self, model: str, number: int) -> Version:
        """One version of a model. Raises NotFound. A version without an adapter has the base model's name."""
        row = versions.find(self.store, model=model, version=number)
        if row is None:
            raise NotFound("version", f"{model}@{number}", hint=f"See: loraloop versions {model}")
        return self._with_engine_name(Version(**row))

    def wanted(self) -> list[Version]:
        """Every version that engines must have loaded: serving, to roll back to, or under evaluation."""
        rows = versions.to_load(self.store, models=sorted(self._models))
        return [self._with_engine_name(Version(**row)) for row in rows]

    def publish(self) -> None:
        """Send the current table to the gateways. Until the engines were first checked, they keep their last one."""
        with self._publishing:  # or an older table could go out after a newer one
            engines = self.engines.adapters_by_engine
            if engines is None:
                return
            current = [Route(**row) for row in routes.all_current(self.store) if row["model"] in self._models]
            wanted = self.wanted()
            withheld = self.find_withheld(wanted)  # now, or a new hash would go out without its places
            self.board.publish(build_table(engines, current, wanted, self.version, withheld, self._audit_shares))

    def start_canary(
        self,
        model: str,
        candidate: int,
        share: float,
        context: DecisionContext,
        *,
        over: int,
        canary: NewCanary | None = None,
        run: RunState | None = None,
    ) -> SwitchResult:
        """Send a fixed share of users to a candidate. A new salt assigns users to the arms again.

        Raises Conflict if the champion is not `over`, which the gates compared.
        """
        route = self._route_over(model, over)
        if route.canary is not None:
            raise Conflict(f"{model}@{route.canary} is still the canary of {model}.")
        if route.holdback:
            said = f"{model} has a holdback: some users still get {model}@{route.previous}."
            raise NotReady(said, hint="A canary can start when the holdback has ended.")
        after = replace(route, canary=candidate, share=share, salt=secrets.token_hex(8), anchor=route.compared_with)
        after = replace(after, holdback=canary.anchor_share if canary else 0.0)
        decision = self._decision(route, candidate, Verdict.CANARY_STARTED, context)
        return self._switch(Change(decision, route, after, run=run, canary=canary))

    def change_canary(
        self, route: Route, verdict: Verdict, context: DecisionContext, change: PausedCanary | RestartedCanary
    ) -> SwitchResult:
        """Pause the canary of a route, or begin its count again: a new salt assigns users to the arms again.

        Raises Conflict if the route has changed.
        """
        after = replace(route, share=0.0, holdback=0.0)
        if isinstance(change, RestartedCanary):
            after = replace(after, share=change.share, holdback=change.anchor_share, salt=secrets.token_hex(8))
        decision = self._decision(route, route.canary, verdict, context)
        return self._switch(Change(decision, route, after, canary=change))

    def end_canary(
        self,
        model: str,
        candidate: int,
        verdict: Verdict,
        context: DecisionContext,
        *,
        run: RunState | None = None,
        keep_data: bool = False,
    ) -> SwitchResult:
        """End a canary: the champion serves everyone again. Raises Conflict if it has ended already."""
        route = self.route(model)
        if route.canary != candidate:
            raise Conflict(f"{model}@{candidate} is not the canary of {model} any more.")
        after = replace(route, canary=None, share=0.0, holdback=0.0)
        hold = None
        if verdict in REFUSED and not keep_data:
            context, hold = self._hold(model, candidate, context)
        decision = self._decision(route, candidate, verdict, context)
        return self._switch(Change(decision, route, after, run=run, quarantine=hold))

    def promote(
        self,
        model: str,
        version: int,
        context: DecisionContext,
        *,
        over: int | None = None,
        holdback: NewHoldback | None = None,
        run: RunState | None = None,
        is_anchor: bool = True,
    ) -> SwitchResult:
        """Make a version the champion. Requests in flight finish where they are; new ones go to the version.

        With `holdback`, a share of users stays with the previous champion. The version is the new anchor, unless it was
        not proven better than the old one. Raises Conflict if the champion is not `over`, which the gates compared.
        """
        route = self.route(model) if over is None else self._route_over(model, over)
        if route.champion == version:
            raise AlreadyDone(f"{model}@{version} is already the champion.")
        share = holdback.share if holdback else 0.0
        anchor = version if is_anchor else route.compared_with
        after = _serving(route, version, previous=route.champion, holdback=share, anchor=anchor)
        decision = self._decision(route, version, Verdict.PROMOTED, context)
        return self._switch(Change(decision, route, after, run=run, holdback=holdback))

    def end_holdback(self, model: str, verdict: Verdict, context: DecisionContext) -> None:
        """End a holdback: the champion serves everyone. Raises Conflict if it has ended already."""
        route = self.route(model)
        if not route.holdback:
            raise Conflict(f"{model} has no holdback any more.")
        decision = self._decision(route, route.champion, verdict, context)
        self._switch(Change(decision, route, replace(route, holdback=0.0)))

    def roll_back(
        self, model: str, to: int | None, context: DecisionContext, *, keep_data: bool = False
    ) -> SwitchResult:
        """Make an earlier version the champion, by default the previous one.

        A second rollback goes further back, never to what was just rolled back, unless `to` names it. Votes against the
        current champion that were a burst or contradict others go to quarantine, unless `keep_data`. The anchor is
        again that of the time when the version served.
        """
        route = self.route(model)
        target = route.previous if to is None else to
        if target is None:
            raise NotReady(f"{model} has had no other champion.", hint=f"See: loraloop versions {model}")
        if target == route.champion:
            raise AlreadyDone(f"{model}@{target} is already the champion.")
        then = routes.last_served(self.store, model=model, champion=target)
        after = _serving(route, target, previous=then.previous, anchor=target if then.anchor is None else then.anchor)
        hold = None
        if not keep_data:
            context, hold = self._hold(model, route.champion, context)
        decision = self._decision(route, target, Verdict.ROLLED_BACK, context)
        return self._switch(Change(decision, route, after, quarantine=hold))

    def record_decision(
        self,
        model: str,
        candidate: int | None,
        verdict: Verdict,
        context: DecisionContext,
        *,
        run: RunState | None = None,
        quarantine: Hold | EndQuarantine | None = None,
        keep_data: bool = False,
    ) -> Decision:
        """Write a decision that changes no route: kept, inconclusive, skipped, failed, awaiting approval."""
        route = self.route(model)
        if candidate is not None and verdict in REFUSED and not keep_data:
            context, quarantine = self._hold(model, candidate, context)
        decision = self._decision(route, candidate, verdict, context)
        with self.store.transaction() as transaction:
            apply_change(transaction, Change(decision, run=run, quarantine=quarantine), self.clock())
        return decision

    def recover(self) -> None:
        """Write the event of each switch whose control stopped before it could report."""
        for row in routes.unfinished_switches(self.store):
            report_interrupted_switch(self.store, row, self.clock())

    def _hold(self, model: str, version: int, context: DecisionContext) -> tuple[DecisionContext, Hold | None]:
        """Whose votes the refusal of a version holds: the ledger names the quarantine, or says why there is none.

        The votes are read before the transaction, so that nothing waits for it.
        """
        found = suspects(self.store, model, version)
        hold = Hold(new_id("quar"), found.predicates, version) if found.predicates else None
        said = {"id": hold and hold.quarantine_id, "held": len(found.predicates), "reason": found.reason}
        return replace(context, live=context.live | {"quarantine": said}), hold

    def _with_engine_name(self, version: Version) -> Version:
        return version if version.is_adapter else replace(version, engine_name=self.base_name)

    def _route_over(self, model: str, champion: int) -> Route:
        route = self.route(model)
        if route.champion != champion:
            said = f"The candidate was judged against {model}@{champion}, but {model}@{route.champion} serves now."
            raise Conflict(said, hint="Retrain: the next candidate is judged against the current champion.")
        return route

    def _decision(self, route: Route, version: int | None, verdict: Verdict, context: DecisionContext) -> Decision:
        return make_decision(route.model, route.champion, version, verdict, context, self.clock())

    def _switch(self, change: Change) -> SwitchResult:
        decision, after = change.decision, change.after
        assert after is not None
        # Engines keep what will serve loaded until the new route is written, because unloading follows the routes.
        with ExitStack() as stack:
            tested = () if after.canary is None else (after.canary, after.held)
            for number in (number for number in (after.champion, *tested) if number is not None):
                version = self.version(after.model, number)
                stack.enter_context(self.engines.ensure_loaded(version))
                if version.kind == "retrieval":
                    read_retrieval(version)  # raises if the file is gone: no gateway could fetch it
            apply_change(stack.enter_context(self.store.transaction()), change, self.clock())
        self.publish()
        switch = report_switch(self.store, self.board, decision, after.champion, self.settle_s, self.clock)
        log.info("%s: %s", decision.verdict, json.dumps(decision.reason))
        return switch


def _serving(route: Route, champion: int, *, previous: int | None, anchor: int, holdback: float = 0.0) -> Route:
    """The route with another champion, and without a canary."""
    return replace(
        route, champion=champion, canary=None, share=0.0, previous=previous, holdback=holdback, anchor=anchor
    )
