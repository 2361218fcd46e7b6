"""The console on a real store with fake engines, and evidence for its pages."""

import copy
import json
import re
from datetime import UTC, datetime, timedelta
from tempfile import gettempdir
from typing import Any, cast

from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.api_key_store import ApiKeyStore
from core.db import live_tests
from core.db.store import Store
from core.http import install_errors
from core.ledger import append
from core.records import Decision, Verdict
from core.settings import build
from ops.alarms.alarm_log import AlarmLog
from ops.alarms.measurement import Measurement
from ops.alarms.watch import AlarmWatch
from ops.audit.recorder import AuditRecorder
from ops.console import app as console_app
from ops.control import Control, Engines
from ops.ledger_verifier import LedgerWatch, verify_audit_log
from rollout.promotion import RouteManager
from rollout.withheld_examples import WithheldExamples
from rollout.workflow import RolloutWorkflow
from serve.engines.fake import FakeEngines
from serve.engines.reconciler import Reconciler
from serve.gateway.authentication import ANYONE, KeyChecker
from serve.routing.publisher import RoutePublisher

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
TERM = re.compile(r'<button type="button" class="term"[^>]*>([^<]*)</button>')
EVIL = "<script>alert('x')</script>"
SWITCHED = {"decision": "dec-1", "switch_ms": 41.5, "in_flight": 12, "failed": 0, "gateways": 1, "complete": True}
KPIS = ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "brier")
PLAIN_KPIS = {"ece": 0.05, "invalid_mass": 0.01, "prompt_tokens": 61.4, "p50_latency_ms": 84.2, "p95_latency_ms": 131.9}
LABELS = ["negative", "neutral", "positive"]
CONFUSION = [[90, 12, 8], [14, 80, 16], [5, 11, 94]]
ARMS = {"base": 0.52, "rag": 0.58, "champion": 0.61, "candidate": 0.69}
GATE = [
    {
        "name": "holdout",
        "outcome": "pass",
        "reason": "330 labels from 121 users; use 1 of 5.",
        "value": None,
        "bound": None,
        "threshold": None,
    },
    {
        "name": "floor accuracy",
        "outcome": "pass",
        "reason": "accuracy is 0.651, lower bound 0.651; at least 0.600 is required.",
        "value": 0.651,
        "bound": 0.651,
        "threshold": 0.6,
    },
    {
        "name": "macro_f1 against champion",
        "outcome": "pass",
        "value": 0.082,
        "bound": 0.031,
        "threshold": 0.0,
        "reason": "macro_f1 is 0.082 higher than the champion's: at least +0.031, more than +0.000 is required.",
    },
    {
        "name": "macro_f1 against rag",
        "outcome": "inconclusive",
        "value": 0.06,
        "bound": -0.004,
        "threshold": 0.0,
        "reason": "macro_f1 is 0.060 higher than retrieval's, but 330 labels do not rule out chance: "
        "the lower bound is -0.004, more than +0.000 is required.",
    },
    {
        "name": "guardrail p95_latency_ms",
        "outcome": "fail",
        "value": 931.0,
        "bound": 931.0,
        "threshold": 900.0,
        "reason": "p95_latency_ms is 931.000, compared without a bound; at most 900.000 is accepted.",
    },
]


def measures(value: float) -> dict[str, Any]:
    spread = {kpi: {"value": value, "low": value - 0.04, "high": value + 0.04} for kpi in KPIS}
    return spread | {kpi: {"value": plain, "low": None, "high": None} for kpi, plain in PLAIN_KPIS.items()}


def full_evidence() -> dict[str, Any]:
    differences = {
        kpi: {
            arm: {"value": 0.69 - value, "lower": 0.031, "upper": 0.12, "level": 0.03}
            for arm, value in ARMS.items()
            if arm != "candidate"
        }
        for kpi in KPIS
    }
    return {
        "n": 330,
        "users": 121,
        "holdout": "h1",
        "holdout_use": 1,
        "base_prompt": "Answer with one word.",
        "arms": {arm: measures(value) for arm, value in ARMS.items()},
        "tfidf_logreg": measures(0.6),
        "differences": differences,
        "confusion": dict.fromkeys(ARMS, CONFUSION),
        "gate": copy.deepcopy(GATE),
        "primary": "macro_f1",
        "labels": LABELS,
    }


def arm_counts(users: int, mean: float) -> dict[str, Any]:
    return {
        "users": users,
        "requests": users * 3,
        "score_mean": mean,
        "score_sd": 0.5,
        "rate_mean": 0.41,
        "rate_sd": 0.3,
        "harmed": 2,
    }


def look_body(users: int, difference: float, half_width: float | None) -> dict[str, Any]:
    return {
        "control": arm_counts(users, 0.1),
        "canary": arm_counts(users // 2, 0.1 + difference),
        "difference": difference,
        "half_width": half_width,
        "line": -0.041,
        "ln_harm": None,
        "sample_ratio_p": 0.42,
        "share": 0.3,
    }


ENDED_CANARY = """
INSERT OR IGNORE INTO canaries (run_id, model, control, candidate, share, started, finished, score_sd, plan, decision)
VALUES ('run-1', 'reviews', 6, 7, 0.3, $started, $started + INTERVAL 1 YEAR, 0.5, '{}', '{}')
"""

LINEAGE = {
    "base_model": "smollm2-135m-instruct",
    "adapter_sha256": "ab" * 32,
    "snapshot": "cd" * 32,
    "rows": {"train": 1200, "h1": 330},
    "users": {"train": 410, "h1": 121},
    "signals": {"label": 1730, "thumbs": 2210},
    "left_out": {},
    "training": {"rank": 16, "learning_rate": 0.0005, "max_rows": None, "seed": 0},
}


class NoScheduler:
    """Pages ask it for nothing but the next run."""

    @staticmethod
    def next_run(_: str) -> datetime:
        return NOW + timedelta(hours=3)


class Console:
    """The pages over a store in memory, with a way to add decisions to its ledger."""

    def __init__(self) -> None:
        models = {name: {"labels": LABELS} for name in ("reviews", "movies")}
        settings = build({"data": gettempdir(), "models": models})
        self.store = Store(":memory:")
        board = RoutePublisher()
        promotion = RouteManager(
            store=self.store, board=board, engines=FakeEngines(), base_name="base", clock=lambda: NOW
        )
        promotion.sync_models(list(settings.models))
        steps = RolloutWorkflow(store=self.store, promotion=promotion, models=settings.models, clock=lambda: NOW)
        engines = Engines(Reconciler([], base_name="base", self_check=lambda _: ""), promotion, board)
        control = Control(
            settings,
            self.store,
            promotion,
            cast(Any, NoScheduler()),
            engines,
            lambda: NOW,
            ApiKeyStore(store=self.store, clock=lambda: NOW),
            steps,
            cast(Any, None),
            LedgerWatch(self.store, lambda: NOW),
            WithheldExamples(self.store, settings.models, lambda: NOW),
            AuditRecorder(store=self.store, clock=lambda: NOW),
            LedgerWatch(self.store, lambda: NOW, verify_audit_log, "audit log"),
        )
        measure = Measurement(control, list).measure
        alarm_log = AlarmLog(self.store, lambda: NOW)
        self.alarms = AlarmWatch(measure=measure, settings=lambda: settings.alarms, alarms=alarm_log, clock=lambda: NOW)
        self.alarms.check()
        app = FastAPI()
        install_errors(app)
        # Anyone may read and write; test_authorization.py and test_console_login.py test the access checks.
        console_app.add_routes(app, control, KeyChecker(keys=tuple, anyone=ANYONE), self.alarms)
        self.control, self.client = control, TestClient(app)
        self.count = 0

    def add_decision(self, verdict: str, **values: Any) -> str:
        self.count += 1
        plain = {
            "from_version": 6,
            "to_version": 7,
            "reason": "It was so.",
            "trigger": "schedule 0 3 * * *",
            "actor": "scheduler",
            "model": "reviews",
        }
        row = Decision(
            **(
                plain
                | {"id": f"dec-{self.count}", "time": NOW + timedelta(minutes=self.count), "verdict": Verdict(verdict)}
                | values
            )
        )
        with self.store.transaction() as transaction:
            append(transaction, row)
        return row.id

    def look(self, number: int, body: dict[str, Any], verdict: str = "wait", reason: str = "So far.") -> None:
        """Adds a look of run-1. A canary that no test has begun is one that has ended."""
        self.store._connection.execute(ENDED_CANARY, {"started": NOW.replace(tzinfo=None)})
        with self.store._cursor() as cursor:
            ((started,),) = cursor.execute("SELECT started FROM canaries WHERE run_id = 'run-1'").fetchall()
        with self.store.transaction() as transaction:
            live_tests.add_look(
                transaction,
                run_id="run-1",
                look=number,
                time=NOW + timedelta(minutes=number),
                started=started.replace(tzinfo=UTC),
                verdict=verdict,
                reason=reason,
                body=json.dumps(body),
            )

    def tabs(self, path: str) -> dict[str, str]:
        """What each tab of a decision's page has, by its name. Terms are words without their explanations."""
        names = re.findall(r'href="\?tab=(\w+)#evidence"[^>]*>[A-Z]', self.page(path))
        pages = {name: TERM.sub(r"\1", self.page(f"{path}?tab={name}")) for name in names}
        return {name: html[html.index('id="tab"') : html.index("</main>")] for name, html in pages.items()}

    def whole(self, path: str) -> str:
        """The page of a decision with what all its tabs have."""
        html = TERM.sub(r"\1", self.page(path))
        return html[: html.index('<div class="tab" id="tab"')] + "".join(self.tabs(path).values())

    def page(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


def demo_arm(value: float) -> dict[str, Any]:
    return {
        "accuracy": value,
        "macro_f1": value - 0.01,
        "weighted_f1": value,
        "roc_auc": None,
        "latency_p50_ms": 84.2,
        "latency_p95_ms": 131.9,
        "prompt_tokens": 61.4,
        "intervals": {"accuracy": [value - 0.04, value + 0.04]},
        "confusion": CONFUSION,
    }


def report(**changes: Any) -> dict[str, Any]:
    other = {"accuracy": 0.6, "macro_f1": 0.55, "weighted_f1": 0.6}
    body = look_body(200, 0.05, 0.04)
    looks = [{"look": 1, "time": NOW.isoformat(), "verdict": "pass", "reason": "So.", "body": body}]
    row = {"time": NOW.isoformat(), "model": "reviews", "from_version": 0, "to_version": 1, "reason": "It won."}
    return {
        "model": "reviews",
        "base_model": "smollm2-135m-instruct",
        "labels": LABELS,
        "test_items": 330,
        "test_users": 121,
        "base_prompt": "Answer with one word.",
        "arms": {arm: demo_arm(value) for arm, value in ARMS.items()},
        "vader": other,
        "human_raters": other | {"accuracy": 0.84},
        "tfidf_logreg": other,
        "decision": row | {"verdict": "promoted", "id": "dec-1", "gate": GATE, "looks": looks},
        "ledger": [row | {"verdict": "promoted"}],
        "waves": [
            {
                "name": "before",
                "requests": 600,
                "failed": 0,
                "approval": 0.61,
                "users": 120,
                "seconds": 75.2,
                "versions": {"0": 400, "1": 200},
            }
        ],
        "approval_over_time": [
            {"second": s, "version": int(s > 40), "rated": 30, "approved": 18 + s // 10} for s in range(5, 90, 5)
        ],
        "switch": {"second": 42.0, "ms": 38.5, "in_flight": 9, "failed": 0},
        "failed_requests": 0,
        "in_flight_at_switch": 9,
        "adapters_served": 4,
        "mixed_batch": {"requests": 64, "models": {"reviews": 16, "movies": 16, "tweets": 16, "editorials": 16}},
        "seconds": {"prepare": 12.1, "first wave": 75.2, "train": 190.4},
        "total_seconds": 415.0,
        "machine": {"cpu": "Xeon", "cores": 2, "memory_gib": 8, "python": "3.11", "vllm": "0.32.0"},
        "targets": [
            {"name": "no failed request", "value": 0, "wanted": 0, "met": True},
            {"name": "accuracy over one human rater", "value": 0.69, "wanted": ">= 0.84", "met": False},
        ],
        "notes": ["Scaled to two cores: 330 texts instead of 3,708."],
    } | changes
