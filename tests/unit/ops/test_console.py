"""Facts about the console's pages and the demo's page, on the real store, ledger and views."""

import copy
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from core.api_key_store import ApiKeyStore
from core.db import live_tests, routes, runs
from core.db.store import Store
from core.http import install_errors
from core.ledger import append
from core.records import Decision, Verdict
from core.settings import build
from demo.html_report import outcome, render
from ops.console import app as console_app
from ops.control import Control, Engines
from ops.ledger_verifier import LedgerWatch
from ops.views import WORDS
from rollout.routes import RouteManager
from rollout.workflow import RolloutWorkflow
from serve.engines.fake import FakeEngines
from serve.engines.reconciler import Reconciler
from serve.gateway.authentication import ANYONE, KeyChecker
from serve.routing.publisher import RoutePublisher

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
EVIL = "<script>alert('x')</script>"
KPIS = ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "brier")
PLAIN_KPIS = {"ece": 0.05, "invalid_mass": 0.01, "prompt_tokens": 61.4, "p50_latency_ms": 84.2, "p95_latency_ms": 131.9}
LABELS = ["negative", "neutral", "positive"]
CONFUSION = [[90, 12, 8], [14, 80, 16], [5, 11, 94]]
ARMS = {"base": 0.52, "rag": 0.58, "champion": 0.61, "candidate": 0.69}
GATE = [
    {
        "name": "holdout",
        "outcome": "pass",
        "reason": "330 labels of 121 users, use 1.",
        "value": None,
        "bound": None,
        "threshold": None,
    },
    {
        "name": "floor accuracy",
        "outcome": "pass",
        "reason": "floor accuracy: 0.651, needs at least 0.600.",
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
        "reason": "macro_f1 against champion: +0.082, needs more than +0.000; lower bound +0.031.",
    },
    {
        "name": "macro_f1 against rag",
        "outcome": "inconclusive",
        "value": 0.06,
        "bound": -0.004,
        "threshold": 0.0,
        "reason": "macro_f1 against rag: +0.060, needs more than +0.000; the lower bound -0.004 is not above it.",
    },
    {
        "name": "guardrail p95_latency_ms",
        "outcome": "fail",
        "value": 931.0,
        "bound": 931.0,
        "threshold": 900.0,
        "reason": "guardrail p95_latency_ms: 931.000, needs at most 900.000.",
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
SWITCHED = {"decision": "dec-1", "switch_ms": 41.5, "in_flight": 12, "failed": 0, "gateways": 1, "complete": True}


class NoScheduler:
    """Pages ask it for nothing but the next run."""

    @staticmethod
    def next_run(_: str) -> datetime:
        return NOW + timedelta(hours=3)


class Console:
    """The pages over a store in memory, with a way to seal rows into its ledger."""

    def __init__(self) -> None:
        settings = build({"models": {name: {"labels": LABELS} for name in ("reviews", "movies")}})
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
        )
        app = FastAPI()
        install_errors(app)
        # Anyone is let in; who is not stands in test_doors.py and test_console_strangers.py.
        app.include_router(console_app.create_router(control, KeyChecker(keys=tuple, anyone=ANYONE)))
        self.control, self.client = control, TestClient(app)
        self.count = 0

    def seal(self, verdict: str, **values: Any) -> str:
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
        live_tests.add_look(
            self.store,
            run_id="run-1",
            look=number,
            time=NOW + timedelta(minutes=number),
            verdict=verdict,
            reason=reason,
            body=json.dumps(body),
        )

    def page(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
def console() -> Console:
    return Console()


def test_a_page_carries_the_content_security_policy(console: Console) -> None:
    console.seal("promoted", evidence=full_evidence())
    for path in ("/promotions", "/promotions/dec-1"):
        policy = console.client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy


def test_no_page_needs_anything_from_elsewhere(console: Console) -> None:
    console.seal("promoted", evidence=full_evidence(), lineage=LINEAGE)
    for html in (console.page("/promotions"), console.page("/promotions/dec-1"), render(report())):
        assert not re.search(r"<script(?! src)|<iframe|@import|url\(|src=(?!\"/static/)|href=\"https?:|\son\w+=", html)


def test_before_the_first_decision_the_page_says_what_will_appear(console: Console) -> None:
    html = console.page("/promotions")
    assert "No decision yet" in html and "loraloop retrain reviews" in html
    assert "no earlier champion to go back to" in html


@pytest.mark.parametrize("verdict", WORDS)
@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_every_verdict_has_a_page_with_and_without_evidence(console: Console, verdict: str, full: bool) -> None:
    live = SWITCHED if verdict == "switched" else look_body(200, 0.05, 0.04) if full else {}
    more = {"evidence": full_evidence(), "lineage": LINEAGE, "live": live, "run_id": "run-1"} if full else {}
    to_version = 7 if full else None
    console.look(1, look_body(4, 0.5, None))
    console.look(2, look_body(200, 0.05, 0.04), "pass")
    identity = console.seal(verdict, to_version=to_version, **more)
    for html in (console.page("/promotions"), console.page(f"/promotions/{identity}")):
        assert WORDS[verdict] in html and "It was so." in html
    html = console.page(f"/promotions/{identity}")
    for part in ("The gate", "Four arms", "Confidence sequence", "What the candidate was made of"):
        assert (part in html) is full


def test_a_decision_says_when_retrieval_would_do_and_what_a_retrieval_is_made_of(console: Console) -> None:
    enough = {
        "worth": {
            "retrieval_is_enough": True,
            "reason": "Retrieval is enough: no gain.",
            "saved_ms": None,
            "saved_tokens": None,
            "requests": None,
        }
    }
    console.seal("kept", evidence=full_evidence() | enough, lineage=LINEAGE)
    assert "Retrieval is enough: no gain." in console.page("/promotions/dec-1")
    made = {"retrieval": {"k": 4, "entries": {"chat": 71}, "context_tokens": None}, "retrieval_sha256": "ef" * 32}
    without = {arm: measures(value) for arm, value in ARMS.items() if arm != "rag"}
    console.seal("promoted", evidence=full_evidence() | {"candidate_is_rag": True, "arms": without}, lineage=made)
    html = console.page("/promotions/dec-2")
    for part in ("Three arms", "base with retrieval", "Retrieval: entries", "chat 71"):
        assert part in html
    assert html.count("ef" * 32) == html.count("chat 71") == 1


def test_the_decision_page_leads_with_the_verdict_and_the_reason(console: Console) -> None:
    console.seal("kept", reason="macro_f1 −0.012 against the champion.", evidence=full_evidence())
    html = console.page("/promotions/dec-1")
    assert html.index("Champion kept") < html.index("macro_f1 −0.012") < html.index("The gate")
    assert "v6 goes on serving" in html


def test_the_decision_page_gives_the_arms_their_latency_tokens_and_tfidf(console: Console) -> None:
    console.seal("promoted", evidence=full_evidence())
    html = console.page("/promotions/dec-1")
    for words in ("latency p95, ms", "prompt tokens", "TF-IDF", "3 of 5 checks pass"):
        assert words in html


@pytest.mark.parametrize(
    ("verdict", "trigger", "command"),
    [
        ("promoted", "canary", "loraloop rollback reviews --to 6"),
        ("rolled_back", "person", "loraloop rollback reviews --to 6"),
        ("rolled_back", "canary", "loraloop promote reviews 7"),
        ("kept", "schedule", "loraloop promote reviews 7"),
        ("awaiting_approval", "canary", "loraloop approve dec-1"),
    ],
)
def test_a_decision_says_which_command_undoes_it(console: Console, verdict: str, trigger: str, command: str) -> None:
    runs.add(
        console.store,
        id="run-1",
        model="reviews",
        trigger="t",
        state="awaiting_approval",
        started=NOW,
        feedback_until=NOW,
    )
    console.seal(verdict, trigger=trigger, run_id="run-1")
    assert command in console.page("/promotions/dec-1")


def test_a_withdrawn_canary_says_that_the_champion_went_on(console: Console) -> None:
    console.seal("rolled_back", trigger="canary")
    console.seal("rolled_back", trigger="person", from_version=7, to_version=6)
    html = console.page("/promotions")
    assert html.count("v6 goes on serving") == 1 and "v7 goes on serving" not in html


def test_the_front_page_shows_the_gain_with_its_bounds_and_the_gates_passed(console: Console) -> None:
    console.seal("promoted", evidence=full_evidence())
    html = console.page("/promotions")
    assert "macro F1 0.610 → <strong>0.690</strong>" in html
    assert "+0.080, bounds +0.031 to +0.120" in html and "gates 3/5" in html


def test_a_gain_without_bounds_still_has_its_row(console: Console) -> None:
    evidence = full_evidence()
    evidence["differences"]["macro_f1"]["champion"] |= {"lower": None, "upper": None}
    console.seal("inconclusive", evidence=evidence)
    assert "bounds – to –" in console.page("/promotions")
    console.page("/promotions/dec-1")


def test_the_filter_shows_one_models_decisions(console: Console) -> None:
    console.seal("kept", reason="Of reviews.")
    console.seal("kept", reason="Of movies.", model="movies")
    html = console.page("/promotions?model=movies")
    assert "Of movies." in html and "Of reviews." not in html
    assert "/promotions.json?model=movies" in html


def test_a_filter_for_no_model_is_escaped(console: Console) -> None:
    assert EVIL not in console.page(f"/promotions?model={EVIL}")


def test_the_canary_shows_on_its_models_strip(console: Console) -> None:
    routes.add(
        console.store,
        model="reviews",
        rev=2,
        time=NOW,
        champion=7,
        canary=8,
        share=0.1,
        previous=6,
        salt="s",
        decision_id=None,
        holdback=0.0,
    )
    html = console.page("/promotions")
    assert "<strong>v8</strong>" in html and "10% of users" in html
    assert "loraloop rollback reviews" in html and "puts v6 back" in html


def test_a_comment_from_a_stranger_is_escaped(console: Console) -> None:
    evidence = full_evidence()
    evidence["labels"] = [EVIL, "b", "c"]
    evidence["base_prompt"] = EVIL
    evidence["gate"][0] |= {"name": EVIL, "reason": EVIL}
    console.look(1, look_body(4, 0.5, None), "wait", EVIL)
    console.seal(
        "promoted",
        comment=EVIL,
        reason=EVIL,
        actor=EVIL,
        trigger=EVIL,
        evidence=evidence,
        run_id="run-1",
        lineage={"left_out": {EVIL: 3}, "training": {EVIL: EVIL}},
        live={EVIL: EVIL},
    )
    for path in ("/promotions", "/promotions/dec-1"):
        html = console.page(path)
        assert EVIL not in html and "&lt;script&gt;" in html


def test_a_whole_and_a_broken_ledger_are_told_apart(console: Console) -> None:
    console.seal("promoted")
    assert "The ledger is whole" in console.page("/promotions")
    console.store._connection.execute("UPDATE decisions SET reason = 'It was otherwise.'")
    console.control.ledger.walk()
    html = console.page("/promotions")
    assert "The ledger is broken" in html and 'role="alert"' in html


def test_rows_of_the_same_run_link_to_each_other(console: Console) -> None:
    console.seal("canary_started", run_id="run-1")
    console.seal("promoted", run_id="run-1")
    assert 'href="/promotions/dec-1"' in console.page("/promotions/dec-2")


def test_a_page_links_to_its_json_twin(console: Console) -> None:
    console.seal("promoted", evidence=full_evidence(), lineage=LINEAGE)
    assert 'href="/promotions/dec-1.json"' in console.page("/promotions/dec-1")
    assert console.client.get("/promotions/dec-1.json").json()["decision"]["verdict"] == "promoted"
    assert console.client.get("/promotions.json").json()["ledger"]["ok"] is True


def test_an_unknown_decision_is_an_error_not_a_page(console: Console) -> None:
    assert console.client.get("/promotions/nothing").status_code == 404


def test_tables_say_what_their_headers_are_for_and_pages_can_be_skipped_into(console: Console) -> None:
    console.seal("promoted", evidence=full_evidence(), lineage=LINEAGE, live=look_body(200, 0.05, 0.04))
    html = console.page("/promotions/dec-1")
    assert not re.search(r"<th(?![^>]*scope=)[ >]", html)
    assert 'class="skip" href="#main"' in html and 'id="main"' in html and '<html lang="en">' in html


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


def test_the_demo_page_leads_with_who_won_and_by_how_much() -> None:
    html = render(report())
    said = "The retrained adapter won its gates and took over: it got 69.0% of 330 held-out texts right, 8.0"
    assert said in html and html.index(said) < html.index("<table")


def test_the_demo_page_names_missed_targets_first() -> None:
    html = render(report())
    assert "Targets: 1 of 2 met" in html
    assert html.index("accuracy over one human rater") < html.index("no failed request")


@pytest.mark.parametrize("verdict", [*WORDS, "none", None])
def test_the_demo_page_renders_whatever_was_decided(verdict: str | None) -> None:
    decision = {"verdict": verdict, "reason": "The trainer was killed."} if verdict else None
    without = {arm: demo_arm(value) for arm, value in ARMS.items() if arm != "candidate"}
    html = render(report(decision=decision, arms=without, switch=None, ledger=[], waves=[], approval_over_time=[]))
    assert "none took place" in html
    assert (decision["reason"] if decision else "No decision was reached") in html


def test_a_wave_shows_how_each_version_was_approved() -> None:
    wave = {
        "name": "wave 2",
        "model": "reviews",
        "requests": 9,
        "failed": 0,
        "approval": None,
        "seconds": 3.0,
        "approval_by_version": {"0": 0.5, "1": 0.75},
        "versions": {"0": 4, "1": 5},
    }
    html = " ".join(render(report(waves=[wave])).split())
    assert "wave 2, reviews" in html and "v0: 4 (50.0%), v1: 5 (75.0%)" in html


def test_a_tie_is_not_called_a_gain() -> None:
    arms = {arm: demo_arm(0.6) for arm in ARMS}
    said = outcome(report(arms=arms, decision={"verdict": "inconclusive", "reason": "No gain."}))
    assert "could not be shown to win" in said and "as many as the champion (60.0%)" in said


def test_the_demo_page_escapes_what_it_is_given() -> None:
    changes = {
        "labels": [EVIL, "b", "c"],
        "notes": [EVIL],
        "model": EVIL,
        "base_prompt": EVIL,
        "targets": [{"name": EVIL, "value": EVIL, "wanted": EVIL, "met": False}],
        "seconds": {EVIL: 1.0},
        "decision": {"verdict": "kept", "reason": EVIL, "gate": [GATE[1] | {"name": EVIL}], "looks": []},
    }
    html = render(report(**changes))
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_decision_shows_the_f1_of_each_label(console: Console) -> None:
    by_arm = {"candidate": [0.8125, None, 0.75], "champion": [0.7, None, 0.6]}
    console.seal("promoted", evidence=full_evidence() | {"class_f1": by_arm})
    html = console.page("/promotions/dec-1")
    rows = html.split("F1 by label</h2>")[1].split("</table>")[0]
    assert "neutral" in rows and "0.812" in rows and "–" in rows
    assert rows.index("candidate") < rows.index("champion")
