"""Monitor canaries and holdbacks: count their users, ask the gates, and act on the answers."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from core.clock import Clock
from core.db import decisions, frozen_models, live_tests
from core.db.store import Store
from core.errors import LoraLoopError
from core.records import Verdict
from core.settings import ModelSettings
from eval.gates.anchor import AnchorArm, look_at_all
from eval.gates.canary import Look
from eval.gates.holdback import HoldbackLook, look_back
from eval.gates.live_arms import ArmCounts
from eval.gates.result import Outcome
from eval.ledger_evidence import plain_checks
from rollout.anchor import anchor_after
from rollout.change_writer import DecisionContext, RunState
from rollout.live_plan import load_plan
from rollout.promotion import RouteManager
from rollout.workflow import RolloutWorkflow

log = logging.getLogger(__name__)

NOBODY = ArmCounts(0, 0, 0.0, 0.0, 0.0, 0.0, 0)
# The characters that `str.strip` removes; DuckDB's trim needs them as an argument.
BLANKS = "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace())


def count_arms(
    store: Store, canary: dict[str, Any], labels: Sequence[str] = (), *, harm_voters: int
) -> tuple[ArmCounts, ArmCounts]:
    """(control, candidate) as of now; answers must keep to the labels, if there are any.

    A flag harms a user if the user gave it, or if `harm_voters` others flagged the same answer. Requests without a
    sticky key are left out: they have no user.
    """
    rows = live_tests.count_arms(
        store,
        model=canary["model"],
        control=canary["control"],
        candidate=canary["candidate"],
        since=canary["started"],
        labels=list(labels),
        blanks=BLANKS,
        harm_voters=harm_voters,
    )
    found = {row.pop("version"): ArmCounts(**{k: v or 0 for k, v in row.items()}) for row in rows}
    return found.get(canary["control"], NOBODY), found.get(canary["candidate"], NOBODY)


def latencies(store: Store, model: str, control: int, candidate: int, since: datetime) -> dict[str, Any]:
    """Median and 95th percentile by arm, in milliseconds; an arm without an answer is left out."""
    arms = {control: "control", candidate: "canary"}
    rows = live_tests.arm_latency(store, model=model, old=control, new=candidate, since=since)
    return {arms[row["version"]]: {name: round(row[name], 1) for name in ("p50_ms", "p95_ms")} for row in rows}


class LiveMonitor:
    """Checks every running live test."""

    def __init__(
        self,
        *,
        store: Store,
        promotion: RouteManager,
        steps: RolloutWorkflow,
        models: dict[str, ModelSettings],
        clock: Clock,
    ) -> None:
        self.store = store
        self.promotion = promotion
        self.steps = steps
        self.models = models
        self.clock = clock

    def check_all(self) -> None:
        """Check each live test once and act on the result. A test that fails is checked again next time."""
        for canary in live_tests.open_canaries(self.store):
            self._try(self._look_at_canary, canary)
        for held in live_tests.open_holdbacks(self.store):
            self._try(self._look_at_holdback, held)
        for waiting in decisions.open_approvals(self.store):
            self._try(self.steps.lapse, waiting)

    def _try(self, work: Callable[[dict[str, Any]], None], row: dict[str, Any]) -> None:
        try:
            work(row)
        except LoraLoopError as error:
            log.error("%s, run %s: %s", row["model"], row["run_id"], error)
        except Exception:  # one broken test must not keep the others from being checked
            log.exception("%s, run %s", row["model"], row["run_id"])

    def _look_at_canary(self, canary: dict[str, Any]) -> None:
        settings = self.models[canary["model"]].promotion.canary
        if settings is None:
            self._end(
                canary,
                Verdict.INCONCLUSIVE,
                DecisionContext("The canary was switched off in the settings.", "settings"),
            )
            return
        if canary["paused"]:
            return
        fixed = load_plan(canary["plan"], settings, canary["share"], canary["score_sd"])
        voters = fixed.settings.harm_voters
        control, candidate = count_arms(self.store, canary, fixed.labels, harm_voters=voters)
        arm, compared = None, canary["control"]
        if fixed.anchor:
            compared = fixed.anchor.version
            pair = count_arms(self.store, canary | {"control": compared}, fixed.labels, harm_voters=voters)
            arm = AnchorArm(f"{canary['model']}@{compared}", pair[0], fixed.anchor.plan)
        minutes = (self.clock() - canary["started"]).total_seconds() / 60
        found, against = look_at_all(control, candidate, fixed.plan, fixed.settings, minutes=minutes, anchor=arm)
        numbers = _numbers(control, candidate, found) | {"line": found.line, "share": canary["share"]}
        numbers |= {"anchor_arm": asdict(arm.counts)} if arm else {}
        self._keep(canary, found, numbers)
        anchor = self.promotion.route(canary["model"]).compared_with
        said = anchor_after(canary["model"], canary["candidate"], anchor, against if compared == anchor else None)
        self._act(canary, found, numbers, said if found.judgement.outcome is Outcome.PASS else None)

    def _keep(self, canary: dict[str, Any], found: Look, numbers: dict[str, Any]) -> None:
        if canary["numbers"] and json.loads(canary["numbers"]) == numbers:
            return
        with self.store.transaction() as transaction:
            live_tests.add_look(
                transaction,
                run_id=canary["run_id"],
                look=canary["looks"] + 1,
                time=self.clock(),
                started=canary["started"],
                verdict=str(found.judgement.outcome),
                reason=found.judgement.reason,
                body=json.dumps(numbers),
            )

    def _act(self, canary: dict[str, Any], found: Look, numbers: dict[str, Any], anchor: dict[str, Any] | None) -> None:
        outcome = found.judgement.outcome
        if outcome is Outcome.WAIT or (outcome is not Outcome.FAIL and self._waits_for_a_person(canary)):
            return  # until the person decides, only harm still counts
        model, control, candidate = canary["model"], canary["control"], canary["candidate"]
        kept = json.loads(canary["decision"])
        live = numbers | {
            "latency": latencies(self.store, model, control, candidate, canary["started"]),
            "rollback_target": control,
            "gate": plain_checks(found.judgement),
        }
        live |= {"anchor": anchor} if anchor else {}
        why = DecisionContext(
            found.judgement.reason,
            "canary",
            run_id=canary["run_id"],
            evidence=kept["evidence"],
            lineage=kept["lineage"],
            live=live,
        )
        if outcome is Outcome.FAIL:
            self._end(canary, Verdict.ROLLED_BACK, why)
        elif outcome is Outcome.INCONCLUSIVE:
            self._end(canary, Verdict.INCONCLUSIVE, why)
        else:
            self.steps.passed_canary(model, candidate, control, why)

    def _waits_for_a_person(self, canary: dict[str, Any]) -> bool:
        return canary["state"] == "awaiting_approval" or self._is_frozen(canary["model"])

    def _is_frozen(self, model: str) -> bool:
        return frozen_models.find(self.store, model=model) is not None

    def _end(self, canary: dict[str, Any], verdict: Verdict, why: DecisionContext) -> None:
        finished = RunState(canary["run_id"], "finished", why.reason)
        self.promotion.end_canary(canary["model"], canary["candidate"], verdict, why, run=finished)

    def _look_at_holdback(self, held: dict[str, Any]) -> None:
        model, old, new = held["model"], held["held"], held["promoted"]
        settings = self.models[model].promotion.holdback
        if settings is None:
            why = DecisionContext("The holdback was switched off in the settings.", "settings", run_id=held["run_id"])
            self.promotion.end_holdback(model, Verdict.INCONCLUSIVE, why)
            return
        fixed = load_plan(held["plan"], settings, 1 - held["share"], held["score_sd"])
        arms = held | {"control": old, "candidate": new}
        before, after = count_arms(self.store, arms, fixed.labels, harm_voters=fixed.settings.harm_voters)
        over = self.clock() >= held["until"]
        found = look_back(before, after, fixed.plan, fixed.settings, over=over)
        numbers = _numbers(before, after, found) | {
            "line": 0.0,
            "share": fixed.plan.share,
            "reason": found.judgement.reason,
        }
        live_tests.set_holdback_numbers(
            self.store, run_id=held["run_id"], time=self.clock(), numbers=json.dumps(numbers)
        )
        outcome = found.judgement.outcome
        if outcome is Outcome.WAIT or (outcome is not Outcome.FAIL and self._is_frozen(model)):
            return
        live = numbers | {
            "latency": latencies(self.store, model, old, new, held["started"]),
            "gate": plain_checks(found.judgement),
        }
        why = DecisionContext(found.judgement.reason, "holdback", run_id=held["run_id"], live=live)
        if outcome is Outcome.FAIL:
            self.promotion.roll_back(model, old, why)
        else:
            ended = Verdict.CONFIRMED if outcome is Outcome.PASS else Verdict.INCONCLUSIVE
            self.promotion.end_holdback(model, ended, why)


def _numbers(control: ArmCounts, canary: ArmCounts, found: Look | HoldbackLook) -> dict[str, Any]:
    return {
        "control": asdict(control),
        "canary": asdict(canary),
        "difference": found.difference,
        "half_width": found.half_width if math.isfinite(found.half_width) else None,
        "ln_harm": found.harm if math.isfinite(found.harm) else None,
        "ln_strays": found.strays if math.isfinite(found.strays) else None,
        "sample_ratio_p": found.sample_ratio_p,
    }
