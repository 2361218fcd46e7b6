"""A console with two months of made-up history, and the address of every page that has a screenshot in the docs."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.db import evaluations, live_tests, runs
from core.records import Verdict, Version
from core.settings import build
from rollout.change_writer import DecisionContext, NewCanary, RunState
from rollout.live_plan import create_plan
from serve.engines.reconciler import EngineState
from tests.support.console import LABELS, LINEAGE, full_evidence, look_body
from tests.support.console_security import KeyedConsole

IMAGES = Path(__file__).parents[2] / "docs" / "img"
# Pages without a picture of their own: what is no page, what leads to another page, and the provider's answer.
NO_PICTURE = ("/", "/static/{digest}/{name}", "/login/oidc", "/login/oidc/callback")
ANSWERS = """
INSERT INTO interactions BY NAME SELECT printf('chatcmpl-%s-%05d', $model, n) AS id,
    $now::TIMESTAMP - to_seconds(n * 137) AS time, $model AS model, $version::INTEGER AS version, 'champion' AS arm,
    0.0 AS share, (n % 97) / 97.0 AS bucket, 'user-' || (n % 311) AS user_id, 'chat' AS endpoint,
    '{"messages":[{"role":"user","content":"' || list_extract($texts::VARCHAR[], 1 + n % len($texts::VARCHAR[]))
        || '"}]}' AS request,
    list_extract($answers::VARCHAR[], 1 + n % len($answers::VARCHAR[])) AS answer, 'stop' AS finish_reason,
    CASE WHEN n % 211 = 3 THEN 502 ELSE 200 END AS status, 60.0 + (n * 7919) % 90 AS latency_ms, 24 AS prompt_tokens,
    2 AS completion_tokens, FALSE AS streamed, 'shop' AS key_id, 'answered' AS cause
FROM range($count) numbers(n)
"""
VOTES = """
INSERT INTO feedback BY NAME SELECT 'fb-' || id AS id, time + INTERVAL 20 SECOND AS time, id AS interaction_id,
    CASE WHEN hash(id) % 5 = 0 THEN 'label' ELSE 'thumbs' END AS type,
    CASE WHEN hash(id) % 5 = 0 THEN '"positive"' WHEN hash(id) % 9 = 0 THEN 'false' ELSE 'true' END AS value,
    CASE WHEN hash(id) % 45 = 0 THEN 'it is about the delivery' END AS comment, user_id, '{}' AS metadata, model,
    version, arm, 'shop' AS key_id, time + INTERVAL 21 SECOND AS arrived
FROM interactions WHERE model = $model AND hash(id) % 3 = 0 AND status = 200
"""
REVIEWS = """
INSERT INTO feedback BY NAME SELECT printf('fb-%s-%05d', $reviewer, n) AS id, time + INTERVAL 1 HOUR AS time,
    id AS interaction_id, 'label' AS type,
    '"' || CASE WHEN n % $wrong = 0 THEN 'neutral' ELSE answer END || '"' AS value, 'reviewer:' || $reviewer AS user_id,
    '{"source": "console"}' AS metadata, model, version, arm, $reviewer AS key_id, time + INTERVAL 1 HOUR AS arrived
FROM (
    SELECT *, row_number() OVER (ORDER BY time DESC) AS n FROM interactions WHERE model = 'notes' AND status = 200
) WHERE n <= 90
"""
TRAFFIC = """
INSERT INTO traffic_daily SELECT model, version, arm, CAST(time AS DATE), count(*),
    count(*) FILTER (WHERE status >= 500), sum(prompt_tokens + completion_tokens) FROM interactions GROUP BY ALL
"""
USAGE = """
INSERT INTO usage_daily SELECT model, coalesce(key_id, ''), CAST(time AS DATE), count(*),
    count(*) FILTER (WHERE status >= 500), sum(prompt_tokens), sum(completion_tokens) FROM interactions GROUP BY ALL
"""
STEPS = """
INSERT INTO run_metrics SELECT 'run-replies', $now::TIMESTAMP - to_seconds(600 - n * 10), 'training', n, 60,
    '{"loss": ' || round(0.4 + 1.6 / (1 + n / 6.0), 3) || ', "seconds": ' || n * 10 || '}' FROM range(1, 47) numbers(n)
"""
TEXTS = (
    "the parcel came two days late and the box was torn",
    "great service, I would order here again",
    "it works, the manual could be clearer",
    "nobody answers the phone",
    "the colour is as in the picture",
)
KPI = (0.61, 0.63, 0.62, 0.66, 0.67, 0.65, 0.69)


def page_routes(app: FastAPI) -> list[str]:
    """The path of every page of the console that can be opened, from the routes themselves."""
    gets = [route for route in app.routes if isinstance(route, APIRoute) and "GET" in route.methods]
    own = [route.path for route in gets if route.endpoint.__module__.startswith("ops.console")]
    return [path for path in own if not path.endswith(".json") and path not in NO_PICTURE]


def picture_of(path: str) -> str:
    """The name of a page's screenshot: /models/{model}/freeze is models-model-freeze."""
    return re.sub(r"\W+", "-", path).strip("-")


class PicturedConsole(KeyedConsole):
    """Four models: one has a canary, one a candidate that waits for approval, one is frozen and in training.

    `app` is served without its scheduler, so that nothing changes while pictures are taken.
    """

    def __init__(self, data: Path) -> None:
        common = {"labels": list(LABELS), "retrain": {"schedule": "0 3 * * *"}}
        models = {
            "films": common,
            "notes": common | {"feedback": {"reviewers": 2}},
            "replies": {"task": "generate"},
            "reviews": common,
        }
        super().__init__(data, build({"data": str(data), "models": models}))
        self.app: Any = self.browser.app
        self.url = ""
        self.store = self.control.store
        scopes = (Scope.OPS_READ, Scope.OPS_WRITE, Scope.ADMIN)
        self.made["ada"] = self.control.keyring.make(NewKey("ada", scopes), "test")
        self.now = self.clock.now
        self.control.engines.states = [EngineState("http://engine-0:8000", True, ("reviews@7",), ())]
        for days, value in enumerate(KPI):
            self._judged("reviews", days + 1, value, promoted=value == max(KPI[: days + 1]))
        self._judged("notes", 1, 0.64, promoted=True)
        self._traffic()
        self._waits()
        self._canary()
        self._trains()
        self.log_in("ada")
        self._acts()
        self.app.state.alarms.check()

    def addresses(self) -> dict[str, str]:
        """A page to show for each route. A route that has none is a new page, which needs one here."""
        store = self.store._connection
        (held,) = store.execute("SELECT min(id) FROM quarantines").fetchone() or ("",)
        (receipt,) = store.execute("SELECT min(id) FROM erasures").fetchone() or ("",)
        (waits,) = store.execute("SELECT id FROM decisions WHERE verdict = 'awaiting_approval'").fetchone() or ("",)
        (began,) = store.execute("SELECT id FROM decisions WHERE verdict = 'canary_started'").fetchone() or ("",)
        (voter,) = store.execute("SELECT max(user_id) FROM feedback WHERE model = 'reviews'").fetchone() or ("",)
        return {
            "/login": "/login",
            "/overview": "/overview",
            "/promotions": "/promotions",
            "/promotions/{identity}": f"/promotions/{began}",
            "/models/{model}": "/models/reviews",
            "/models/{model}/compare": "/models/reviews/compare",
            "/requests": "/requests",
            "/feedback": "/feedback",
            "/feedback/agreement": "/feedback/agreement?model=notes",
            "/feedback/queue": "/feedback/queue?model=reviews",
            "/feedback/{identity}": "/feedback/chatcmpl-reviews-00009",
            "/quarantine": "/quarantine",
            "/quarantine/{identity}": f"/quarantine/{held}",
            "/runs": "/runs",
            "/runs/{identity}": "/runs/run-replies",
            "/system": "/system",
            "/models/{model}/rollback": "/models/reviews/rollback",
            "/models/{model}/retrain": "/models/films/retrain",
            "/promotions/{identity}/approve": f"/promotions/{waits}/approve",
            "/promotions/{identity}/reject": f"/promotions/{waits}/reject",
            "/models/{model}/canary/{verb}": "/models/reviews/canary/stop",
            "/models/{model}/freeze": "/models/notes/freeze",
            "/models/{model}/unfreeze": "/models/replies/unfreeze",
            "/hold": f"/hold?model=reviews&user={voter}",
            "/quarantine/{identity}/{verb}": f"/quarantine/{held}/release",
            "/runs/{identity}/{verb}": "/runs/run-replies/cancel",
            "/alarms/{name}/silence": "/alarms/gateway_missing/silence",
            "/audit": "/audit",
            "/usage": "/usage",
            "/plan": "/plan?model=reviews",
            "/keys": "/keys",
            "/erasures": "/erasures",
            "/erasures/{identity}": f"/erasures/{receipt}",
        }

    def _judged(self, model: str, number: int, value: float, *, promoted: bool) -> None:
        """A run that judged a version some days ago, and its decision."""
        self.clock.now = self.now - timedelta(days=6 * (len(KPI) - number) + 4)
        why = self._why(model, number, value, "won" if promoted else "lost")
        state = RunState(why.run_id, "finished", why.reason)
        if promoted:
            self.control.promotion.promote(model, number, why, run=state)
        else:
            self.control.promotion.record_decision(model, number, Verdict.KEPT, why, run=state)
        self.clock.now = self.now

    def _why(self, model: str, number: int, value: float, word: str) -> DecisionContext:
        run, now = f"run-{model}-{number}", self.clock.now
        evidence, gain = full_evidence(), value - KPI[0] + 0.02
        for kpi, by_arm in evidence["differences"].items():
            evidence["arms"]["candidate"][kpi] = {"value": value, "low": value - 0.03, "high": value + 0.03}
            by_arm["champion"] |= {"value": gain, "lower": gain - 0.03, "upper": gain + 0.03}
        with self.store.transaction() as transaction:
            version = Version(model, number, f"{model}@{number}", f"/{number}", "ab" * 32, 16, run)
            self.control.promotion.add_version(transaction, version)
            runs.add(
                transaction,
                id=run,
                model=model,
                trigger="schedule 0 3 * * *",
                state="evaluating",
                started=now - timedelta(minutes=14),
                feedback_until=now,
            )
            runs.set_candidate(transaction, id=run, candidate=number)
        reason = f"macro_f1 is {abs(gain):.3f} {'higher' if gain > 0 else 'lower'} than the champion's: it {word}."
        return DecisionContext(reason, "schedule 0 3 * * *", run_id=run, evidence=evidence, lineage=LINEAGE)

    def _traffic(self) -> None:
        now, run = self.now.replace(tzinfo=None), self.store._connection.execute
        for model, version, answers in (
            ("reviews", 7, LABELS),
            ("notes", 1, LABELS),
            ("replies", 0, ("It comes on Tuesday.", "Please send it back.")),
        ):
            parameters = {"model": model, "version": version, "answers": list(answers), "texts": list(TEXTS)}
            run(ANSWERS, parameters | {"now": now, "count": 3000})
            run(VOTES, {"model": model})
        for reviewer, wrong in (("ada", 9), ("bob", 14)):
            run(REVIEWS, {"reviewer": reviewer, "wrong": wrong})
        run(TRAFFIC)
        run(USAGE)

    def _waits(self) -> None:
        """A candidate of notes that waits for approval, with the items on which it did worst."""
        why = self._why("notes", 2, 0.68, "won")
        waiting = RunState(why.run_id, "awaiting_approval")
        self.control.promotion.record_decision("notes", 2, Verdict.AWAITING_APPROVAL, why, run=waiting)
        rows = [
            {
                "run_id": why.run_id,
                "place": place,
                "interaction_id": f"chatcmpl-notes-{place:05d}",
                "kpi": "macro_f1",
                "wanted": LABELS[0],
                "champion": LABELS[0],
                "candidate": LABELS[2],
                "loss": 0.9 - place / 10,
            }
            for place in range(1, 4)
        ]
        with self.store.transaction() as transaction:
            evaluations.add_regression(transaction, rows)

    def _canary(self) -> None:
        """A canary of reviews that began six hours ago."""
        self.clock.now = self.now - timedelta(hours=6)
        why = self._why("reviews", 8, 0.71, "won")
        canary = self.control.settings.models["reviews"].promotion.canary
        plan = create_plan(canary, 0.1, self.control.settings.models["reviews"], None)
        new = NewCanary(7, 0.1, plan.plan.score_sd, json.dumps(plan.plain()), "{}")
        live = {"forecast": {"days": 0.5, "sentence": "Forecast: 4,200 requests from 900 users, 12.0 hours."}}
        context = DecisionContext(
            why.reason, why.trigger, run_id=why.run_id, evidence=why.evidence, lineage=why.lineage, live=live
        )
        self.control.promotion.start_canary(
            "reviews", 8, 0.1, context, over=7, canary=new, run=RunState(why.run_id, "canary")
        )
        with self.store.transaction() as transaction:
            for look in range(1, 13):
                live_tests.add_look(
                    transaction,
                    run_id=str(why.run_id),
                    look=look,
                    time=self.clock.now + timedelta(minutes=30 * look),
                    started=self.clock.now,
                    verdict="wait",
                    reason="Not yet shown: not worse than the champion.",
                    body=json.dumps(look_body(60 * look, 0.03 + 0.02 / look, 0.5 / look**0.5)),
                )
        self.clock.now = self.now

    def _trains(self) -> None:
        runs.add(
            self.store,
            id="run-replies",
            model="replies",
            trigger="person",
            state="training",
            started=self.now - timedelta(minutes=11),
            feedback_until=self.now,
        )
        self.store._connection.execute(STEPS, {"now": self.now.replace(tzinfo=None)})

    def _acts(self) -> None:
        """What people did: a freeze, votes held, and the erasure of a user."""
        assert self.form("/models/replies/freeze", comment="no changes before the launch").status_code == 303
        comment = "one person with one opinion"
        assert self.form("/hold?model=reviews&user=user-3", comment=comment).status_code == 303
        assert self.form("/erasures", user="user-8", comment="asked by letter").status_code == 303


@contextmanager
def pictured_console(folder: Path) -> Iterator[PicturedConsole]:
    """The console with its made-up history in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
        made = PicturedConsole(folder)
        yield made
        made.store.close()
