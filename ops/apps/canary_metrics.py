"""The numbers of running canaries, for Prometheus: users, effect with its bounds, harm, and what the plan needs.

It reads one row per running canary, and no looks. A model without a canary has no series.
"""

import json
import logging
import math
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from core.db import live_tests
from core.db.store import Row
from core.settings import CanarySettings
from eval.gates.live_arms import LEAST_SAMPLE_RATIO_P
from ops.control import Control
from rollout.live_plan import load_plan

log = logging.getLogger(__name__)

# The arms by their names in the numbers of a look, and the name that requests have.
ARMS = {"control": "champion", "canary": "canary", "anchor_arm": "anchor"}
COUNTS = {
    "users": ("users", "Users so far."),
    "requests": ("requests", "Requests of these users."),
    "score_mean": ("score", "Mean score of a request, over users, from -1 to 1."),
    "rate_mean": ("rated_ratio", "Share of requests with thumbs, mean over users."),
    "harmed": ("harmed_users", "Users with an error or a flag."),
    "strayed": ("stray_users", "Users with an answer outside the labels."),
}
EVIDENCE = {"ln_harm": "harm", "ln_strays": "stray_answers"}


class CanaryMetrics:
    """The gauges of canaries in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.version = self._gauge("version", "The candidate's number.")
        self.paused = self._gauge("paused", "1 while it is paused.")
        self.started = self._gauge("started_timestamp_seconds", "When its count began.")
        self.limit = self._gauge("limit_seconds", "Its age at which it ends without a result.")
        self.first_look = self._gauge("first_look_users", "Users per arm before scores are compared.")
        self.planned = self._gauge("planned_users", "Users in both arms at which the test is most sensitive.")
        self.looks = self._gauge("looks", "Looks so far, with those before a restart.")
        self.looked = self._gauge("looked_timestamp_seconds", "Time of the newest look that found other numbers.")
        self.difference = self._gauge("difference", "Score of the canary above the champion's, from -2 to 2.")
        self.low = self._gauge("difference_low", "Lower bound, for all looks together.")
        self.high = self._gauge("difference_high", "Upper bound. Below 0: rollback.")
        self.line = self._gauge("difference_limit", "The lower bound must be above it for a promotion.")
        self.evidence = self._gauge("harm_evidence", "Natural logarithm of the evidence of harm.", "kind")
        self.harm_limit = self._gauge("harm_evidence_limit", "Evidence of harm that leads to a rollback.")
        self.ratio = self._gauge("sample_ratio_p", "p-value of the users per arm, given the planned share.")
        self.ratio_limit = self._gauge("sample_ratio_p_limit", "A p-value below it ends the canary.")
        self.arms = {field: self._gauge(name, text, "arm") for field, (name, text) in COUNTS.items()}

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"loraloop_canary_{name}", text, ("model", *labels), registry=self._registry)

    def count(self, control: Control) -> None:
        """Set the gauges of every running canary."""
        for row in live_tests.open_canaries(control.store):
            model = control.settings.models.get(row["model"])
            try:
                self._describe(row, model.promotion.canary if model else None)
                if row["numbers"]:
                    self._set_numbers(row["model"], json.loads(row["numbers"]))
            except (KeyError, TypeError, ValueError):
                # Another release may have written it. All other metrics, and the alerts on them, go on.
                log.exception("The numbers of the canary of %s cannot be read.", row["model"])

    def _describe(self, row: Row, settings: CanarySettings | None) -> None:
        name, plan = row["model"], load_plan(row["plan"], settings or CanarySettings(), row["share"], row["score_sd"])
        self.version.labels(name).set(row["candidate"])
        self.paused.labels(name).set(row["paused"] is not None)
        self.started.labels(name).set(row["started"].timestamp())
        self.limit.labels(name).set(plan.settings.max_hours * 3600)
        self.first_look.labels(name).set(plan.settings.first_look_users)
        self.planned.labels(name).set(plan.settings.planned_users)
        self.harm_limit.labels(name).set(math.log(1 / plan.plan.alpha))
        self.ratio_limit.labels(name).set(LEAST_SAMPLE_RATIO_P)
        self.looks.labels(name).set(row["looks"])
        if row["looked"]:
            self.looked.labels(name).set(row["looked"].timestamp())

    def _set_numbers(self, name: str, numbers: dict[str, Any]) -> None:
        """Set what the newest look found. What it could not compute yet has no series."""
        difference, half_width = numbers["difference"], numbers["half_width"]
        self.difference.labels(name).set(difference)
        self.line.labels(name).set(numbers["line"])
        self.ratio.labels(name).set(numbers["sample_ratio_p"])
        if half_width is not None:
            self.low.labels(name).set(difference - half_width)
            self.high.labels(name).set(difference + half_width)
        for field, kind in EVIDENCE.items():
            if numbers.get(field) is not None:
                self.evidence.labels(name, kind).set(numbers[field])
        for arm, counts in ((ARMS[key], numbers[key]) for key in ARMS if key in numbers):
            for field, gauge in self.arms.items():
                gauge.labels(name, arm).set(counts.get(field, 0))
