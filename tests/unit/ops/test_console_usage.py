"""Facts about the pages of usage and of keys: what they add up, over which time, and what they leave out."""

from datetime import timedelta
from typing import Any

import pytest

from core.api_key_store import NewKey
from core.api_keys import Limits, Scope
from core.db import runs
from tests.support.console import NOW, Console

USAGE = """INSERT INTO usage_daily VALUES ('reviews', 'shop', $today, 100, 2, 2000, 1000),
    ('reviews', '', $today, 10, 1, 400, 100), ('reviews', 'shop', $old, 7, 7, 4, 3), ('gone', '', $today, 9, 9, 0, 9)"""
ANSWERS = """INSERT INTO interactions BY NAME SELECT 'c-' || n AS id,
    $now::TIMESTAMP - to_hours(CASE WHEN n < 20 THEN 1 ELSE 30 END) AS time, 'reviews' AS model, 1 AS version,
    'champion' AS arm, 0.0 AS share, 'chat' AS endpoint, CASE WHEN n = 3 THEN 502 ELSE 200 END AS status,
    1.0 AS latency_ms, 7 AS prompt_tokens, 3 AS completion_tokens, FALSE AS streamed,
    CASE WHEN n % 4 = 0 THEN NULL ELSE $key END AS key_id FROM range(40) numbers(n)"""


@pytest.fixture
def console() -> Console:
    made = Console()
    today = NOW.date()
    made.store._connection.execute(USAGE, {"today": today, "old": today - timedelta(days=31)})
    return made


def train(console: Console, run: str, ago: timedelta, seconds: float) -> None:
    began: Any = {"started": NOW - ago, "feedback_until": NOW}
    runs.add(console.store, id=run, model="reviews", trigger="t", state="finished", **began)
    for part in (0.5, 1):
        metrics = f'{{"seconds": {seconds * part}}}'
        runs.add_metric(console.store, run_id=run, time=NOW - ago, phase="training", done=1, total=2, metrics=metrics)


def price(console: Console, **prices: Any) -> None:
    settings = console.control.settings
    engine = type(settings.engine)(**prices)
    console.control.settings = settings.model_copy(update={"engine": engine})


def test_usage_adds_up_keys_of_thirty_days_and_leaves_removed_models_out(console: Console) -> None:
    train(console, "run-1", timedelta(days=2), 3600)
    train(console, "run-2", timedelta(days=3), 1800)
    train(console, "run-3", timedelta(days=40), 9999)
    found = {row["model"]: row for row in console.client.get("/usage.json").json()["models"]}
    assert found["reviews"] == {
        "model": "reviews", "requests": 110, "errors": 3, "prompt_tokens": 2400, "completion_tokens": 1100,
        "tokens": 3500, "cost": None, "trainings": 2, "seconds": 5400.0, "training_cost": None
    }  # fmt: skip
    assert found["movies"]["requests"] == 0 and "gone" not in console.page("/usage")
    html = console.page("/usage")
    assert "31.8" in html and "1 h 30 min" in html and "Cost of training" not in html
    assert "movies" not in console.page("/usage?model=reviews").partition("<table>")[2]


def test_training_has_a_cost_where_the_machine_has_a_price(console: Console) -> None:
    train(console, "run-1", timedelta(days=2), 5400)
    price(console, price_per_hour=2.5)
    assert ">3.75<" in console.page("/usage")


def test_serving_has_a_cost_per_model_day_and_key_where_tokens_have_a_price(console: Console) -> None:
    assert "With the setting <code>engine.price_per_million_tokens</code>" in console.page("/usage")
    price(console, price_per_million_tokens=2000.0)
    found = console.client.get("/usage.json").json()
    # 3,500 and 0 tokens at 2,000 per million.
    assert {row["model"]: row["cost"] for row in found["models"]}["reviews"] == pytest.approx(7)
    assert [row["cost"] for row in found["tokens_by_day"]] == [pytest.approx(7)]
    assert ">7.00<" in console.page("/usage")
    made = console.control.keyring.make(NewKey("shop", (Scope.INFER,)), "test")
    console.store._connection.execute(ANSWERS, {"now": NOW.replace(tzinfo=None), "key": made.id})
    (key,) = console.client.get("/keys.json").json()["keys"]
    assert key["used"]["tokens"] == 150 and key["used"]["serving_cost"] == pytest.approx(0.3)
    assert ">0.30<" in console.page("/keys")


def test_prompts_and_completions_have_their_own_prices(console: Console) -> None:
    price(console, price_per_million_prompt_tokens=1000.0, price_per_million_completion_tokens=4000.0)
    # 2,400 and 1,100 tokens.
    assert console.client.get("/usage.json").json()["total"]["cost"] == pytest.approx(6.8)
    page = console.page("/usage")
    assert "1000 per million tokens of prompts and 4000 of completions" in page and ">6.80<" in page
    price(console, price_per_million_tokens=2000.0, price_per_million_prompt_tokens=0.0)
    assert console.client.get("/usage.json").json()["total"]["cost"] == pytest.approx(2.2)


def test_without_prices_of_tokens_models_share_the_hours_by_tokens_and_the_page_says_so(console: Console) -> None:
    price(console, price_per_hour=2.0)
    found = console.client.get("/usage.json").json()
    # Three hours of today. Another model had 9 of 3,509 tokens. 30 days had no request.
    assert found["total"]["cost"] == pytest.approx(6 * 3500 / 3509)
    assert found["unused_cost"] == pytest.approx(30 * 48)
    page = console.page("/usage")
    assert "it is not stored when an engine ran" in page and "Days without a request cost 1440.00 more" in page
    assert "Days without" not in console.page("/usage?model=reviews")
    console.store._connection.execute(ANSWERS, {"now": NOW.replace(tzinfo=None), "key": "shop"})
    used = {row["key"]: row["serving_cost"] for row in console.client.get("/keys.json").json()["others"]}
    assert used == {"shop": pytest.approx(36), None: pytest.approx(12)}


def test_a_store_that_never_counted_a_request_has_no_unused_hours(console: Console) -> None:
    price(console, price_per_hour=2.0)
    console.store._connection.execute("DELETE FROM usage_daily")
    assert console.client.get("/usage.json").json()["unused_cost"] == 0


def test_prices_of_tokens_come_before_the_price_of_an_hour(console: Console) -> None:
    price(console, price_per_hour=2.0, price_per_million_tokens=2000.0)
    found = console.client.get("/usage.json").json()
    assert (found["priced_by"], found["total"]["cost"], found["unused_cost"]) == ("tokens", pytest.approx(7), None)


def test_usage_by_month_has_twelve_months(console: Console) -> None:
    old = [NOW.date().replace(year=2025, month=month) for month in (3, 4)]
    for day in old:
        console.store._connection.execute(
            "INSERT INTO usage_daily VALUES ('reviews', '', $day, 5, 0, 5, 0)", {"day": day}
        )
    found = console.client.get("/usage.json?by=month").json()
    assert [(row["period"], row["requests"]) for row in found["periods"]] == [
        ("2026-03", 110), ("2026-01", 7), ("2025-04", 5)
    ]  # fmt: skip
    page = console.page("/usage?by=month&model=reviews")
    assert '<th scope="row">2025-04</th>' in page and "Tokens by model" not in page
    assert 'href="/usage?by=day&amp;model=reviews"' in page or 'href="/usage?by=day&model=reviews"' in page


def test_keys_have_their_use_of_one_day_and_no_secret(console: Console) -> None:
    wanted = NewKey("shop", (Scope.INFER,), models=("reviews",), limits=Limits(requests_per_minute=60))
    made = console.control.keyring.make(wanted, "test")
    revoked = console.control.keyring.make(NewKey("old", (Scope.INFER,)), "test")
    console.control.keyring.revoke(revoked.id)
    console.store._connection.execute(ANSWERS, {"now": NOW.replace(tzinfo=None), "key": made.id})
    found = console.client.get("/keys.json").json()
    used = {row["name"]: row["used"] for row in found["keys"]}
    assert used == {
        "shop": {
            "key": made.id,
            "requests": 15,
            "errors": 1,
            "prompt_tokens": 105,
            "completion_tokens": 45,
            "tokens": 150,
            "serving_cost": None,
        },
        "old": None,
    }
    assert [(row["key"], row["requests"]) for row in found["others"]] == [(None, 5)]
    html = console.page("/keys")
    assert "60 requests/min" in html and "revoked" in html and f'href="/requests?key={made.id}"' in html
    assert made.key not in html and made.key.rpartition("_")[2] not in html
