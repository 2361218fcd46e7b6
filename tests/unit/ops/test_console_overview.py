"""Facts about the overview and the badges in the navigation: what they count, over which window, and for whom."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from core.db import quarantines, runs
from core.db.store import Transaction
from core.records import Version
from ops.console import badges, overview
from ops.console.svg.sparkline import sparkline
from rollout.change_writer import DecisionContext, NewCanary, RunState
from serve.engines.fake import FakeEngines
from tests.support.console import NOW, Console, full_evidence, look_body

ANSWERS = """INSERT INTO interactions BY NAME SELECT 'c-' || $name || n AS id, $time::TIMESTAMP AS time,
    $model AS model, 1 AS version, 'champion' AS arm,
    0.0 AS share, 'chat' AS endpoint, CASE WHEN n = 0 THEN 502 ELSE 200 END AS status,
    100.0 + n AS latency_ms, FALSE AS streamed FROM range($count) numbers(n)"""
THUMBS = """INSERT INTO feedback BY NAME SELECT 'f-' || $name || n AS id, $time::TIMESTAMP AS time, 'thumbs' AS type,
    CASE WHEN n % 4 = 0 THEN 'false' ELSE 'true' END AS value, '{}' AS metadata, $model AS model,
    FROM range($count) numbers(n)"""


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
    return Console()


def fill(console: Console, statement: str, ago: timedelta, count: int, model: str = "reviews") -> None:
    time = (NOW - ago).replace(tzinfo=None)
    parameters = {"time": time, "count": count, "model": model, "name": f"{model}{ago.total_seconds()}"}
    console.store._connection.execute(statement, parameters)


def shown(console: Console, path: str = "/overview.json") -> dict[str, Any]:
    return {row["model"]: row for row in console.client.get(path).json()["models"]}


def row(console: Console, model: str = "reviews") -> str:
    """The text of a model's row."""
    html = console.page("/overview").partition(f'<th scope="row"><a href="/models/{model}">')[2].partition("</tr>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_front_page_leads_to_the_overview(console: Console) -> None:
    assert console.client.get("/", follow_redirects=False).headers["location"] == "/overview"


def test_a_model_has_its_champion_kpi_thumbs_errors_latency_and_next_run(console: Console) -> None:
    fill(console, ANSWERS, timedelta(minutes=5), 100)
    fill(console, THUMBS, timedelta(hours=2), 40)
    console.add_decision("promoted", run_id="run-1", evidence=full_evidence())
    text = row(console)
    for words in ("v0 base", "macro F1 0.690", "75% of 40", "1.00% of 100", "194 ms", "none", "in 3 h 0 min"):
        assert words in text, (words, text)
    assert "– – –" in row(console, "movies")  # nobody asked and nobody voted


def test_a_window_is_as_short_as_its_rows_allow(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "ENOUGH", 10)
    fill(console, ANSWERS, timedelta(hours=20), 1)
    fill(console, THUMBS, timedelta(days=6), 4)
    fill(console, THUMBS, timedelta(days=8), 4)
    assert shown(console)["reviews"]["traffic"]["requests"] == 1 and shown(console)["reviews"]["votes"]["thumbs"] == 4
    fill(console, ANSWERS, timedelta(minutes=50), 9)
    fill(console, ANSWERS, timedelta(minutes=40), 2, "movies")
    assert (shown(console)["reviews"]["traffic"]["requests"], shown(console)["movies"]["traffic"]["requests"]) == (9, 2)
    fill(console, ANSWERS, timedelta(minutes=9), 10)
    fill(console, THUMBS, timedelta(hours=1), 12)
    found = console.client.get("/overview.json").json()
    assert (found["traffic_seconds"], found["vote_seconds"]) == (600, 86_400)
    assert found["models"][0]["traffic"]["requests"] == 10 and found["models"][0]["votes"]["thumbs"] == 12
    assert "last 10 min" in console.page("/overview") and "last 1 d" in console.page("/overview")


def start_canary(console: Console, live: dict[str, Any]) -> None:
    """Version 1 is the canary of reviews, since six hours before NOW."""
    promotion, began = console.control.promotion, NOW - timedelta(hours=6)
    promotion.engines = FakeEngines()
    with console.store.transaction() as transaction:
        promotion.add_version(transaction, Version("reviews", 1, "reviews@1", "/1", "ab", 8, None))
        runs.add(
            transaction, id="run-1", model="reviews", trigger="t", state="canary", started=began, feedback_until=NOW
        )
    new = NewCanary(0, 0.1, 0.3, "{}", json.dumps({"evidence": {}, "lineage": {}, "offline": "It won."}))
    why = DecisionContext("It won.", "test", run_id="run-1", live=live)
    promotion.start_canary("reviews", 1, 0.1, why, over=0, canary=new, run=RunState("run-1", "canary"))
    console.store._connection.execute("UPDATE canaries SET started = $began", {"began": began.replace(tzinfo=None)})


def test_a_canary_shows_its_share_its_requests_the_time_left_and_stop(console: Console) -> None:
    start_canary(console, {"forecast": {"days": 0.5}})
    console.look(1, look_body(200, 0.05, 0.04))
    text = row(console)
    assert "v1 , 10% of users Stop 6 h 0 min left, 300 requests" in text
    html = console.page("/overview")
    assert '<progress max="43200.0" value="21600.0"' in html and 'href="/models/reviews/canary/stop"' in html


def test_past_its_forecast_a_canary_counts_to_its_limit(console: Console) -> None:
    start_canary(console, {"forecast": {"days": 0.125}})
    limit = console.control.settings.models["reviews"].promotion.canary.max_hours  # type: ignore[union-attr]
    progress = shown(console)["reviews"]["progress"]
    assert progress["end"] == limit * 3600 and progress["left"] == (limit - 6) * 3600
    console.store._connection.execute("UPDATE canaries SET started = started - INTERVAL 1 YEAR")
    assert shown(console)["reviews"]["progress"]["left"] == 0 and "past its limit" in row(console)


def test_a_paused_canary_has_no_time_left_and_can_be_resumed_or_stopped(console: Console) -> None:
    start_canary(console, {})
    assert console.client.get("/models/reviews/canary/pause").status_code == 200
    console.store._connection.execute("UPDATE canaries SET paused = started")
    html = console.page("/overview")
    assert shown(console)["reviews"]["progress"]["left"] is None and "<progress" not in html
    assert 'href="/models/reviews/canary/resume"' in html and 'href="/models/reviews/canary/stop"' in html


def test_the_small_picture_has_one_dot_per_version_and_fills_those_that_took_over() -> None:
    judged = [
        {"candidate": {"value": value}, "verdict": verdict, "kpi": "macro_f1", "version": version}
        for version, value, verdict in ((1, 0.6, "promoted"), (2, float("nan"), "kept"), (3, 0.7, "kept"))
    ]
    drawn = str(sparkline(judged))
    assert drawn.count("<circle") == 2 and drawn.count('class="f-card ') == 1
    assert "v1 0.600; v3 0.700" in drawn and sparkline([]) == sparkline(judged[1:2]) == ""
    assert sparkline(judged[:1]).count("<circle") == 1


def test_more_than_four_needs_are_folded(console: Console) -> None:
    start_canary(console, {})
    console.store._connection.execute("UPDATE canaries SET paused = started")
    console.store._connection.execute("INSERT INTO frozen_models VALUES ('reviews', now(), 'ann', '')")
    console.store._connection.execute(
        "INSERT INTO quarantines (id, model, version, decision_id, time, state) "
        "VALUES ('q1', 'reviews', 7, 'dec-1', now(), 'held')"
    )
    found = console.client.get("/overview.json").json()["needs"]
    html = console.page("/overview")
    assert len(found) == 5 and "<summary>1 more</summary>" in html
    assert html.index(found[3]["text"]) < html.index("1 more") < html.index(found[4]["text"])


def test_badges_count_what_waits_for_the_models_that_the_visitor_may_see(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantines, "undecided", lambda _: {"reviews": 2, "movies": 1, "gone": 9})
    monkeypatch.setattr(badges.decisions, "open_approvals", lambda _: [{"model": "reviews"}, {"model": "movies"}])
    monkeypatch.setattr(badges.labelling, "in_doubt", lambda _, name, reviewer: [1] * (3 if name == "reviews" else 200))
    made = badges.Badges(console.control, console.alarms)
    every = made.count(None)
    assert {path: (one.count, one.more) for path, one in every.items()} == {
        "/promotions": (2, False),
        "/feedback": (203, True),
        "/quarantine": (3, False),
        "/system": (2, False),
    }
    own = made.count(("reviews",))
    assert {path: one.count for path, one in own.items()} == {"/promotions": 1, "/feedback": 3, "/quarantine": 2}
    assert own["/promotions"].words == "approval waits"
    page = console.page("/runs")
    assert 'title="approvals wait">2' in page and "203+" in page and '3<span class="unseen"> quarantines' in page


def test_answers_to_label_are_counted_at_most_once_a_minute(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr(badges.labelling, "in_doubt", lambda _, name, reviewer: counted.append(name) or [1])
    made, now = badges.Badges(console.control, console.alarms), [NOW]
    console.control.clock = lambda: now[0]
    for _ in range(3):
        assert made.count(("reviews",))["/feedback"].count == 1
    assert counted == ["reviews"]
    now[0] += badges.KEPT
    made.count(("reviews",))
    assert counted == ["reviews"] * 2


def test_an_error_page_reads_no_badge_because_it_is_made_in_the_event_loop(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(badges.decisions, "open_approvals", fail)
    assert console.client.get("/promotions/nothing").status_code == 404


def test_the_overview_asks_no_more_queries_for_more_models(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    rows = Transaction.rows

    def counted(self: Transaction, name: str, **parameters: Any) -> list[Any]:
        asked.append(name)
        return rows(self, name, **parameters)

    monkeypatch.setattr(Transaction, "rows", counted)
    numbers = []
    for names in (["reviews"], ["reviews", "movies"]):
        overview.overview(console.control, console.alarms, names, None)
        numbers.append(sorted(asked))
        asked.clear()
    assert numbers[0] == numbers[1] and numbers[0]
