"""Facts about the report of usage by the API and the command: periods, filters, what a limited key gets, and prices."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.errors import SettingsError
from core.settings import build
from ops.serving_costs import Prices
from tests.support.console_security import KeyedConsole
from tests.support.running_control import RunningControl, served_control

USAGE = """INSERT INTO usage_daily VALUES ('reviews', 'shop', '2026-02-27', 10, 1, 800, 200),
    ('reviews', '', '2026-03-01', 1, 0, 60, 40), ('movies', 'shop', '2026-03-01', 2, 0, 600, 300),
    ('gone', 'old', '2025-05-31', 5, 0, 50, 50)"""


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    for made in served_control(tmp_path, monkeypatch):
        made.store._connection.execute(USAGE)
        yield made


def rows(done: Any, split: str = "model") -> list[tuple[str, str | None, int]]:
    assert done.exit_code == 0, done.output
    return [(row["period"], row[split], row["requests"]) for row in json.loads(done.stdout)["rows"]]


def test_the_command_adds_up_days_and_months_by_model_or_key(control: RunningControl) -> None:
    since = ("--since", "2025-01-01", "-o", "json")
    by_day = [
        ("2025-05-31", "gone", 5),
        ("2026-02-27", "reviews", 10),
        ("2026-03-01", "movies", 2),
        ("2026-03-01", "reviews", 1),
    ]
    assert rows(control.run("usage", *since)) == by_day
    assert rows(control.run("usage", "--by", "month", *since)) == [(day[:7], *rest) for day, *rest in by_day]
    assert rows(control.run("usage", "--until", "2026-03-01", *since)) == by_day[:2]
    assert rows(control.run("usage", "--model", "reviews", *since)) == [by_day[1], by_day[3]]
    assert rows(control.run("usage", "--key", "shop", *since)) == by_day[1:3]
    split = control.run("usage", "--by", "month", "--split", "key", "--model", "reviews", *since)
    assert rows(split, "key") == [("2026-02", "shop", 10), ("2026-03", None, 1)]


def test_the_table_has_a_total_and_a_cost_where_tokens_have_a_price(control: RunningControl) -> None:
    done = control.run("usage", "--since", "2025-01-01")
    assert "completion tokens" in done.stdout and "cost" not in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["total", "18", "1", "1,510", "590"]
    settings = control.app.state.control.settings
    prices = {"price_per_million_prompt_tokens": 1000, "price_per_million_completion_tokens": 10_000}
    engine = type(settings.engine)(urls=settings.engine.urls, **prices)
    control.app.state.control.settings = settings.model_copy(update={"engine": engine})
    done = control.run("usage", "--since", "2025-01-01")
    assert done.stdout.splitlines()[-1].split() == ["total", "18", "1", "1,510", "590", "7.41"]
    assert "10000 of completions" in done.stderr
    found = yaml.safe_load(control.run("usage", "--since", "2025-01-01", "-o", "yaml").stdout)
    assert found["total"]["cost"] == pytest.approx(7.41) and found["priced_by"] == "tokens"


def test_a_period_that_ends_before_it_begins_is_refused(control: RunningControl) -> None:
    done = control.run("usage", "--since", "2026-03-01", "--until", "2026-03-01")
    assert "is not before 2026-03-01" in str(done.exception)


def test_a_key_that_is_limited_to_models_gets_their_use_alone(tmp_path: Path) -> None:
    models = {name: {"labels": ["good", "bad"]} for name in ("reviews", "movies")}
    console = KeyedConsole(tmp_path, build({"data": str(tmp_path), "models": models}))
    console.control.store._connection.execute(USAGE)
    wanted = NewKey("numbers", (Scope.OPS_NUMBERS,), models=("reviews",))
    key = console.control.keyring.make(wanted, "test").key

    def get(query: str = "") -> Any:
        return console.browser.get(f"/api/usage{query}", headers={"Authorization": f"Bearer {key}"})

    assert {row["model"] for row in get("?by=month").json()["rows"]} == {"reviews"}
    assert get("?split=key").json()["total"]["requests"] == 11
    assert get("?model=movies").status_code == 403


@pytest.mark.parametrize("kind", ["prompt", "completion"])
def test_a_price_of_one_kind_of_tokens_needs_one_of_the_other(kind: str) -> None:
    own = {f"price_per_million_{kind}_tokens": 1.0}
    with pytest.raises(SettingsError, match="set both"):
        build({"models": {}, "engine": own})
    found = build({"models": {"reviews": {"labels": ["a", "b"]}}, "engine": own | {"price_per_million_tokens": 2.0}})
    prices = Prices.of(found.engine)
    assert {prices.prompt, prices.completion} == {1.0, 2.0} and getattr(prices, kind) == 1.0
