"""Promotion and rollback: the one place that changes who serves.

It owns the route of each model as a compare-and-swap beside its ledger row, in one transaction; it must
not decide whether a change is right. Whatever a change ends (a canary, a holdback, a wait for approval)
ends in its transaction too, so that no crash leaves a half of it.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from core.clock import Clock, new_id
from core.db import interactions, live_tests, routes, versions
from core.db import runs as runs_table
from core.db.store import Store, Transaction
from core.errors import Conflict, NotReady, UnknownModel, UnknownVersion
from core.ledger import append
from core.records import Decision, Route, Verdict, Version
from eval.gates.fingerprint import gate_fingerprint
from feedback import quarantine
from serve.retrieval.retriever import is_here, read_retrieval
from serve.routing.publisher import RoutePublisher, SwitchResult
from serve.routing.table import ModelRoute, RoutingTable, Target

log = logging.getLogger(__name__)

# How long after a switch its failed requests are still counted as its own, in seconds.
SETTLE_SECONDS = 2.0
# After these, what the candidate was the first to learn from is reviewed before anything learns from it again.
REFUSED = (Verdict.ROLLED_BACK, Verdict.REJECTED)


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What the ledger keeps of a change besides who and what: reason, cause, person, numbers."""

    reason: str
    trigger: str
    actor: str = "scheduler"
    comment: str = ""
    run_id: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)


class Engines(Protocol):
    """What a change of routes needs of the engines: serve/engines/reconciler.py has it."""

    @property
    def holdings(self) -> dict[str, tuple[str, ...]] | None:
        """Each engine's URL with the names that it answers to, or None while nobody has looked."""

    def holding(self, version: Version) -> AbstractContextManager[None]:
        """Has every engine hold a version, and nothing unloaded meanwhile."""
        ...


Also = Callable[[Transaction], None]


@dataclass(frozen=True, slots=True)
class QuarantineRequest:
    """A version whose newest data is to be reviewed: what it was made of and the other was not."""

    version: int
    beside: int


def _nothing_else(_: Transaction) -> None:
    """For changes that come with no other rows."""


def _target(version: Version) -> Target:
    return Target(version.version, version.engine_name, version.sha256 if version.kind == "retrieval" else None)


class RouteManager:
    """Changes routes; every method that does so writes the ledger in the same transaction.

    What `also` does happens in that transaction too, or not at all.
    """

    def __init__(self, *, store: Store, board: RoutePublisher, engines: Engines, base_name: str, clock: Clock) -> None:
        self.store = store
        self.board = board
        self.engines = engines
        self.base_name = base_name
        self.clock = clock
        self._publishing = threading.Lock()
        self._models: frozenset[str] = frozenset()

    def adopt(self, models: list[str]) -> None:
        """Gives every configured model its version 0 and a route, where it has none yet; publishes.

        Models that are not among them are served no more, and what is open of them ends.
        """
        self._models = frozenset(models)
        for row in routes.all_current(self.store):
            if row["model"] not in self._models:
                self._retire(Route(**row))
        for model in models:
            if routes.current(self.store, model=model):
                continue
            with self.store.transaction() as transaction:
                base = Version(model, 0, f"{self.base_name}#{model}", None, None, 0, None, "base")
                self.add_version(transaction, base)
                self._write(transaction, Route(model, 1, 0, None, 0.0, None, secrets.token_hex(8)), None)
        self.publish()

    def add_version(self, transaction: Transaction, version: Version) -> None:
        """Takes a new version into the store."""
        versions.add(
            transaction,
            model=version.model,
            version=version.version,
            engine_name=version.engine_name,
            path=version.path,
            sha256=version.sha256,
            rank=version.rank,
            run_id=version.run_id,
            time=self.clock(),
            kind=version.kind,
        )

    def take_in(self, transaction: Transaction, version: Version, why: DecisionContext) -> Decision:
        """Takes in a version that no run made, with its row in the ledger; it serves nobody yet."""
        champion = self.route(version.model).champion
        decision = self._decision(version.model, champion, version.version, Verdict.IMPORTED, why)
        self.add_version(transaction, version)
        append(transaction, decision)
        return decision

    def route(self, model: str) -> Route:
        """The model's route as it stands. Raises UnknownModel."""
        row = routes.current(self.store, model=model)
        if row is None:
            raise UnknownModel(f"There is no model {model[:64]!r}.", hint="See: loraloop models")
        return Route(**row)

    def version(self, model: str, number: int) -> Version:
        """A version. Raises UnknownVersion. What is no adapter answers under the base model's own name."""
        row = versions.find(self.store, model=model, version=number)
        if row is None:
            raise UnknownVersion(f"There is no version {model}@{number}.", hint=f"See: loraloop versions {model}")
        found = Version(**row)
        return self._named(found)

    def _named(self, found: Version) -> Version:
        return found if found.is_adapter else replace(found, engine_name=self.base_name)

    def table(self, engines: dict[str, tuple[str, ...]]) -> RoutingTable:
        """The routing table that routes and engines make."""
        held = {name for names in engines.values() for name in names}
        loaded: dict[str, list[Target]] = {}
        for version in self.wanted():
            # A retrieval whose file is gone would keep every gateway from this table; if it serves, they have it.
            if version.engine_name in held and (version.kind != "retrieval" or is_here(version)):
                loaded.setdefault(version.model, []).append(_target(version))
        models = {}
        for route in (Route(**row) for row in routes.all_current(self.store) if row["model"] in self._models):
            canary = None if route.canary is None else self._target(route.model, route.canary)
            held = self._target(route.model, route.previous) if route.holdback and route.previous is not None else None
            models[route.model] = ModelRoute(
                self._target(route.model, route.champion),
                canary,
                route.share,
                route.salt,
                tuple(loaded.get(route.model, ())),
                held,
                route.holdback,
            )
        return RoutingTable(engines, models)

    def publish(self) -> None:
        """Hands the table to the gateways, once somebody has looked at the engines: the last one goes on till then."""
        with self._publishing:  # or an older table could go out after a newer one
            engines = self.engines.holdings
            if engines is not None:
                self.board.publish(self.table(engines))

    def wanted(self) -> list[Version]:
        """Every version that engines must hold: serving, to roll back to, or under evaluation."""
        rows = versions.wanted(self.store, models=sorted(self._models))
        return [self._named(Version(**row)) for row in rows]

    def start_canary(
        self, model: str, candidate: int, share: float, why: DecisionContext, also: Also, over: int
    ) -> None:
        """Lets a candidate serve a fixed share of users. A new salt draws the users afresh.

        Raises Conflict when another version than `over`, which it was judged against, is the champion.
        """
        route = self._route_over(model, over)
        if route.canary is not None:
            raise Conflict(f"{model}@{route.canary} is the canary of {model} still.")
        if route.holdback:
            raise NotReady(
                f"{model}@{route.previous} is held back beside {model}@{route.champion}.",
                hint="A canary can start once the holdback has ended.",
            )
        after = replace(route, canary=candidate, share=share, salt=secrets.token_hex(8))
        self._change(route, after, Verdict.CANARY_STARTED, candidate, why, also)

    def end_canary(
        self, model: str, candidate: int, verdict: Verdict, why: DecisionContext, also: Also, *, keep_data: bool = False
    ) -> None:
        """Takes the canary out: the champion serves everyone again."""
        route = self.route(model)
        if route.canary != candidate:
            raise Conflict(f"{model}@{candidate} is not the canary of {model} any more.")
        suspect = QuarantineRequest(candidate, route.champion) if verdict in REFUSED and not keep_data else None
        self._change(route, replace(route, canary=None, share=0.0), verdict, candidate, why, also, suspect)

    def promote(
        self,
        model: str,
        version: int,
        why: DecisionContext,
        also: Also = _nothing_else,
        *,
        over: int | None = None,
        holdback: float = 0.0,
    ) -> SwitchResult:
        """Makes a version the champion. Requests in flight finish where they are; new ones go to it.

        The version before keeps the share `holdback` of users, those farthest from the canary's. Raises Conflict
        when another version than `over`, which it was judged against, is the champion.
        """
        route = self.route(model) if over is None else self._route_over(model, over)
        if route.champion == version:
            raise NotReady(f"{model}@{version} is the champion already.")
        after = replace(route, champion=version, canary=None, share=0.0, previous=route.champion, holdback=holdback)
        return self._change(route, after, Verdict.PROMOTED, version, why, also)

    def end_holdback(self, model: str, verdict: Verdict, why: DecisionContext) -> None:
        """The champion serves everyone: the version before is held back no longer. `verdict` says if that proves it."""
        route = self.route(model)
        if not route.holdback:
            raise Conflict(f"Nothing is held back beside {model}@{route.champion} any more.")
        self._change(route, replace(route, holdback=0.0), verdict, route.champion, why)

    def roll_back(self, model: str, to: int | None, why: DecisionContext, *, keep_data: bool = False) -> SwitchResult:
        """Puts an earlier version back, by default the one that served before.

        What the version that leaves was the first to learn from goes to quarantine, unless `keep_data`.
        """
        route = self.route(model)
        target = route.previous if to is None else to
        if target is None:
            raise NotReady(f"{model} has had no other champion.", hint=f"See: loraloop versions {model}")
        if target == route.champion:
            raise NotReady(f"{model}@{target} is the champion already.")
        after = replace(route, champion=target, canary=None, share=0.0, previous=route.champion, holdback=0.0)
        suspect = None if keep_data else QuarantineRequest(route.champion, target)
        return self._change(route, after, Verdict.ROLLED_BACK, target, why, suspect=suspect)

    def note(
        self,
        model: str,
        candidate: int | None,
        verdict: Verdict,
        why: DecisionContext,
        also: Also = _nothing_else,
        *,
        keep_data: bool = False,
    ) -> Decision:
        """A decision that changes nobody's route: kept, inconclusive, skipped, failed, awaiting approval."""
        champion = self.route(model).champion
        decision = self._decision(model, champion, candidate, verdict, why)
        refused = verdict in REFUSED and not keep_data
        suspect = QuarantineRequest(candidate, champion) if candidate is not None and refused else None
        with self.store.transaction() as transaction:
            self._seal(transaction, decision, suspect)
            also(transaction)
        return decision

    def recover(self) -> None:
        """Writes the event row of each switch that a control which stopped could not see through."""
        for row in routes.unfinished_switches(self.store):
            reason = f"Control was stopped during the switch to {row['model']}@{row['champion']}, which serves since."
            live = {"decision": row["decision_id"], "complete": False}
            why = DecisionContext(reason, "restart", "control", run_id=row["run_id"], live=live)
            event = self._decision(row["model"], row["from_version"], row["champion"], Verdict.SWITCHED, why)
            with self.store.transaction() as transaction:
                append(transaction, event)

    def _route_over(self, model: str, champion: int) -> Route:
        route = self.route(model)
        if route.champion != champion:
            raise Conflict(
                f"It was judged against {model}@{champion}, but {model}@{route.champion} serves now.",
                hint="Retrain: the next candidate is judged against what serves.",
            )
        return route

    def _target(self, model: str, number: int) -> Target:
        return _target(self.version(model, number))

    def _change(
        self,
        before: Route,
        after: Route,
        verdict: Verdict,
        version: int,
        why: DecisionContext,
        also: Also = _nothing_else,
        suspect: QuarantineRequest | None = None,
    ) -> SwitchResult:
        decision = self._decision(before.model, before.champion, version, verdict, why)
        serving = [number for number in (after.champion, after.canary) if number is not None]
        # Engines hold what will serve until the route that wants it stands; whoever unloads waits for that.
        with ExitStack() as stack:
            for number in serving:
                wanted = self.version(after.model, number)
                stack.enter_context(self.engines.holding(wanted))
                if wanted.kind == "retrieval":
                    read_retrieval(wanted)  # or no gateway could fetch it
            transaction = stack.enter_context(self.store.transaction())
            current = routes.current(transaction, model=before.model)
            if current is None or current["rev"] != before.rev:
                raise Conflict(f"The route of {before.model} was changed meanwhile.", hint="Look again, then retry.")
            self._seal(transaction, decision, suspect)
            self._write(transaction, replace(after, rev=before.rev + 1), decision.id)
            if before.holdback:  # no change leaves one as it is; what comes also may begin another
                live_tests.close_holdback(transaction, model=before.model, time=self.clock())
            also(transaction)
            self._withdraw(transaction, before, after, why)
        self.publish()
        return self._follow(decision, before, after)

    def _seal(self, transaction: Transaction, decision: Decision, suspect: QuarantineRequest | None) -> None:
        """Adds the row to the ledger; it says what it sends to quarantine."""
        if suspect is not None:
            held = quarantine.hold(
                transaction,
                decision.model,
                version=suspect.version,
                beside=suspect.beside,
                decision_id=decision.id,
                time=decision.time,
            )
            if held is not None:
                decision = replace(decision, live=decision.live | {"quarantine": held})
        append(transaction, decision)

    def _withdraw(self, transaction: Transaction, before: Route, after: Route, why: DecisionContext) -> None:
        """Closes the canary and the waits for approval that the new route leaves no room for."""
        now = self.clock()
        if before.canary is not None and after.canary is None:
            live_tests.close_canary(transaction, model=before.model, time=now)
        elif before.champion == after.champion:
            return
        reason = f"Withdrawn, for the route of {before.model} was changed by {why.actor}: {why.reason}"
        for run in runs_table.waiting_to_switch(transaction, model=before.model):
            about = DecisionContext(reason, why.trigger, why.actor, run_id=run["id"])
            append(
                transaction, self._decision(before.model, after.champion, run["candidate"], Verdict.WITHDRAWN, about)
            )
            runs_table.set_state(transaction, id=run["id"], state="finished", time=now, reason=reason)

    def _retire(self, route: Route) -> None:
        """Ends what is open of a model that the settings have no more. Engines are not asked: they need not hold it."""
        now, reason = self.clock(), f"{route.model} is no longer in the settings: it is served no more."
        held = live_tests.holdback_of(self.store, model=route.model)
        runs = runs_table.waiting_to_switch(self.store, model=route.model)
        ended = [(run["id"], run["candidate"]) for run in runs]
        if held:
            ended.append((held["run_id"], held["promoted"]))
        if not ended and route.canary is None and not route.holdback:
            return
        with self.store.transaction() as transaction:
            for run, version in ended:
                why = DecisionContext(reason, "settings", "control", run_id=run)
                append(transaction, self._decision(route.model, route.champion, version, Verdict.WITHDRAWN, why))
            for run in runs:
                runs_table.set_state(transaction, id=run["id"], state="finished", time=now, reason=reason)
            live_tests.close_canary(transaction, model=route.model, time=now)
            live_tests.close_holdback(transaction, model=route.model, time=now)
            self._write(transaction, replace(route, rev=route.rev + 1, canary=None, share=0.0, holdback=0.0), None)
        log.warning("%s", reason)

    def _write(self, transaction: Transaction, route: Route, decision_id: str | None) -> None:
        routes.add(
            transaction,
            model=route.model,
            rev=route.rev,
            time=self.clock(),
            champion=route.champion,
            canary=route.canary,
            share=route.share,
            previous=route.previous,
            salt=route.salt,
            decision_id=decision_id,
            holdback=route.holdback,
        )

    def _decision(
        self, model: str, champion: int, version: int | None, verdict: Verdict, why: DecisionContext
    ) -> Decision:
        return Decision(
            id=new_id("dec"),
            time=self.clock(),
            model=model,
            from_version=champion,
            to_version=version,
            verdict=verdict,
            reason=why.reason,
            trigger=why.trigger,
            actor=why.actor,
            comment=why.comment,
            run_id=why.run_id,
            evidence=why.evidence,
            lineage=why.lineage,
            live=why.live,
            gate_code=gate_fingerprint(),
        )

    def _follow(self, decision: Decision, before: Route, after: Route) -> SwitchResult:
        """Waits until every gateway has the table, then writes what the switch cost as an event row."""
        switch = self.board.await_switch()
        if before.champion != after.champion:
            time.sleep(SETTLE_SECONDS)
            failed = interactions.count_failed(self.store, model=before.model, since=decision.time)
            live = {
                "decision": decision.id,
                "switch_ms": round(switch.ms, 1),
                "in_flight": switch.in_flight,
                "failed": failed["n"],
                "gateways": switch.gateways,
                "complete": switch.complete,
            }
            reason = (
                f"{before.model}@{after.champion} served from every gateway ({switch.gateways}) after "
                f"{switch.ms:.0f} ms, with {switch.in_flight} requests in flight; {failed['n']} failed."
            )
            why = DecisionContext(reason, decision.trigger, decision.actor, run_id=decision.run_id, live=live)
            event = self._decision(before.model, before.champion, after.champion, Verdict.SWITCHED, why)
            with self.store.transaction() as transaction:
                append(transaction, event)
        log.info("%s: %s", decision.verdict, json.dumps(decision.reason))
        return switch
