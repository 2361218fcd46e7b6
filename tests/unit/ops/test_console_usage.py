"""Facts about the pages of usage and of keys: what they add up, over which time, and what they leave out."""

from datetime import timedelta
from typing import Any

import pytest

from core.api_key_store import NewKey
from core.api_keys import Limits, Scope
from core.db import runs
from tests.support.console import NOW, Console

TRAFFIC = """INSERT INTO traffic_daily VALUES ('reviews', 1, 'champion', $today, 100, 2, 3000),
    ('reviews', 2, 'canary', $today, 10, 1, 500), ('reviews', 1, 'champion', $old, 7, 7, 7),
    ('gone', 1, 'champion', $today, 9, 9, 9)"""
ANSWERS = """INSERT INTO interactions BY NAME SELECT 'c-' || n AS id,
    $now::TIMESTAMP - to_hours(CASE WHEN n < 20 THEN 1 ELSE 30 END) AS time, 'reviews' AS model, 1 AS version,
    'champion' AS arm, 0.0 AS share, 'chat' AS endpoint, CASE WHEN n = 3 THEN 502 ELSE 200 END AS status,
    1.0 AS latency_ms, 7 AS prompt_tokens, 3 AS completion_tokens, FALSE AS streamed,
    CASE WHEN n % 4 = 0 THEN NULL ELSE $key END AS key_id FROM range(40) numbers(n)"""


@pytest.fixture
def console() -> Console:
    made = Console()
    today = NOW.date()
    made.store._connection.execute(TRAFFIC, {"today": today, "old": today - timedelta(days=31)})
    return made


def train(console: Console, run: str, ago: timedelta, seconds: float) -> None:
    began: Any = {"started": NOW - ago, "feedback_until": NOW}
    runs.add(console.store, id=run, model="reviews", trigger="t", state="finished", **began)
    for part in (0.5, 1):
        metrics = f'{{"seconds": {seconds * part}}}'
        runs.add_metric(console.store, run_id=run, time=NOW - ago, phase="training", done=1, total=2, metrics=metrics)


def test_usage_adds_up_versions_and_arms_of_thirty_days_and_leaves_removed_models_out(console: Console) -> None:
    train(console, "run-1", timedelta(days=2), 3600)
    train(console, "run-2", timedelta(days=3), 1800)
    train(console, "run-3", timedelta(days=40), 9999)
    found = {row["model"]: row for row in console.client.get("/usage.json").json()["models"]}
    assert found["reviews"] == {
        "model": "reviews", "requests": 110, "errors": 3, "tokens": 3500, "trainings": 2, "seconds": 5400.0,
        "serving_cost": None, "training_cost": None
    }  # fmt: skip
    assert found["movies"]["requests"] == 0 and "gone" not in console.page("/usage")
    html = console.page("/usage")
    assert "31.8" in html and "1 h 30 min" in html and "Cost of training" not in html
    assert "movies" not in console.page("/usage?model=reviews").partition("<table>")[2]


def test_training_has_a_cost_where_the_machine_has_a_price(console: Console) -> None:
    train(console, "run-1", timedelta(days=2), 5400)
    settings = console.control.settings
    priced = settings.engine.model_copy(update={"price_per_hour": 2.5})
    console.control.settings = settings.model_copy(update={"engine": priced})
    assert ">3.75<" in console.page("/usage")


def test_serving_has_a_cost_per_model_day_and_key_where_tokens_have_a_price(console: Console) -> None:
    assert "With the setting <code>engine.price_per_million_tokens</code>" in console.page("/usage")
    settings = console.control.settings
    priced = settings.engine.model_copy(update={"price_per_million_tokens": 2000.0})
    console.control.settings = settings.model_copy(update={"engine": priced})
    found = console.client.get("/usage.json").json()
    # 3,500 and 0 tokens at 2,000 per million.
    assert {row["model"]: row["serving_cost"] for row in found["models"]}["reviews"] == pytest.approx(7)
    assert [row["serving_cost"] for row in found["tokens_by_day"]] == [pytest.approx(7)]
    assert ">7.00<" in console.page("/usage")
    made = console.control.keyring.make(NewKey("shop", (Scope.INFER,)), "test")
    console.store._connection.execute(ANSWERS, {"now": NOW.replace(tzinfo=None), "key": made.id})
    (key,) = console.client.get("/keys.json").json()["keys"]
    assert key["used"]["tokens"] == 150 and key["used"]["serving_cost"] == pytest.approx(0.3)
    assert ">0.30<" in console.page("/keys")


def test_keys_have_their_use_of_one_day_and_no_secret(console: Console) -> None:
    wanted = NewKey("shop", (Scope.INFER,), models=("reviews",), limits=Limits(requests_per_minute=60))
    made = console.control.keyring.make(wanted, "test")
    revoked = console.control.keyring.make(NewKey("old", (Scope.INFER,)), "test")
    console.control.keyring.revoke(revoked.id)
    console.store._connection.execute(ANSWERS, {"now": NOW.replace(tzinfo=None), "key": made.id})
    found = console.client.get("/keys.json").json()
    used = {row["name"]: row["used"] for row in found["keys"]}
    assert used == {
        "shop": {"key": made.id, "requests": 15, "errors": 1, "tokens": 150, "serving_cost": None},
        "old": None,
    }
    assert [(row["key"], row["requests"]) for row in found["others"]] == [(None, 5)]
    html = console.page("/keys")
    assert "60 requests/min" in html and "revoked" in html and f'href="/requests?key={made.id}"' in html
    assert made.key not in html and made.key.rpartition("_")[2] not in html
