"""The watch over canaries: looks at live feedback, asks the gate, and acts on its answer.

It owns counting users in the store and the order of what follows a verdict; the verdict is the gate's.
"""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from core.clock import Clock
from core.records import Verdict
from core.settings import ModelSettings
from core.store import Store, Transaction
from eval.canary import ArmCounts, Look, Plan, look
from eval.judgement import Outcome
from eval.promotion import Promotion, Why

log = logging.getLogger(__name__)

LEAST_SD = 0.05
UNKNOWN_SD = 0.5
LEAST_HISTORY_USERS = 10
NOBODY = ArmCounts(0, 0, 0.0, 0.0, 0.0, 0.0, 0)


def score_sd(store: Store, model: str, before: datetime) -> float:
    """Deviation of users' mean scores before a canary; it tunes the sequence and never makes it invalid."""
    row = store.row("score_history", model=model, before=before)
    if row is None or row["users"] < LEAST_HISTORY_USERS or row["sd"] is None:
        return UNKNOWN_SD
    return max(float(row["sd"]), LEAST_SD)


def count(store: Store, canary: dict[str, Any]) -> tuple[ArmCounts, ArmCounts]:
    """(control, canary) as of now. Requests without a sticky key are left out: they have no user."""
    rows = store.rows(
        "canary_arms", model=canary["model"], control=canary["control"], candidate=canary["candidate"],
        since=canary["started"],
    )  # fmt: skip
    found = {row.pop("version"): ArmCounts(**{k: v or 0 for k, v in row.items()}) for row in rows}
    return found.get(canary["control"], NOBODY), found.get(canary["candidate"], NOBODY)


class CanaryWatch:
    """Looks at every open canary."""

    def __init__(self, *, store: Store, promotion: Promotion, models: dict[str, ModelSettings], clock: Clock) -> None:
        self.store = store
        self.promotion = promotion
        self.models = models
        self.clock = clock

    def look_at_all(self) -> None:
        """One look at each open canary, and what follows from it."""
        for canary in self.store.rows("canaries_open"):
            self._look(canary)

    def _look(self, canary: dict[str, Any]) -> None:
        settings = self.models[canary["model"]].promotion.canary
        if settings is None:
            self._end(canary, Verdict.INCONCLUSIVE, Why("The canary was switched off in the settings.", "settings"))
            return
        control, candidate = count(self.store, canary)
        minutes = (self.clock() - canary["started"]).total_seconds() / 60
        plan = Plan(canary["share"], canary["score_sd"])
        found = look(control, candidate, plan, settings, minutes=minutes)
        numbers = self._keep(canary, control, candidate, found)
        self._act(canary, found, numbers)

    def _keep(self, canary: dict[str, Any], control: ArmCounts, candidate: ArmCounts, found: Look) -> dict[str, Any]:
        numbers = {
            "control": asdict(control),
            "canary": asdict(candidate),
            "difference": found.difference,
            "half_width": found.half_width if math.isfinite(found.half_width) else None,
            "line": found.line,
            "ln_harm": found.harm if math.isfinite(found.harm) else None,
            "sample_ratio_p": found.sample_ratio_p,
            "share": canary["share"],
        }
        last = self.store.row("canary_last_look", run_id=canary["run_id"])
        if last is None or json.loads(last["body"]) != numbers:
            self.store.run(
                "canary_look_add", run_id=canary["run_id"], look=(last["look"] if last else 0) + 1, time=self.clock(),
                verdict=str(found.judgement.outcome), reason=found.judgement.reason, body=json.dumps(numbers),
            )  # fmt: skip
        return numbers

    def _act(self, canary: dict[str, Any], found: Look, numbers: dict[str, Any]) -> None:
        outcome = found.judgement.outcome
        if outcome is Outcome.WAIT:
            return
        kept = json.loads(canary["decision"])
        why = Why(
            found.judgement.reason, "canary", run_id=canary["run_id"], evidence=kept["evidence"],
            lineage=kept["lineage"], live=numbers,
        )  # fmt: skip
        if outcome is Outcome.FAIL:
            self._end(canary, Verdict.ROLLED_BACK, why)
        elif outcome is Outcome.INCONCLUSIVE:
            self._end(canary, Verdict.INCONCLUSIVE, why)
        elif self.models[canary["model"]].promotion.mode == "approve":
            closing = self._closing(canary, "awaiting_approval", None)
            self.promotion.note(canary["model"], canary["candidate"], Verdict.AWAITING_APPROVAL, why, closing)
        else:
            closing = self._closing(canary, "finished", why.reason)
            self.promotion.promote(canary["model"], canary["candidate"], why, closing)

    def _end(self, canary: dict[str, Any], verdict: Verdict, why: Why) -> None:
        closing = self._closing(canary, "finished", why.reason)
        self.promotion.end_canary(canary["model"], canary["candidate"], verdict, why, closing)

    def _closing(self, canary: dict[str, Any], state: str, reason: str | None) -> Callable[[Transaction], None]:
        def close(transaction: Transaction) -> None:
            now = self.clock()
            transaction.run("canary_close", run_id=canary["run_id"], time=now)
            transaction.run("run_state", id=canary["run_id"], state=state, time=now, reason=reason)

        return close
