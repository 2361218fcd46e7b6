"""Facts about the page of needed traffic: it computes what the command does, and fills its form with the last day."""

import json

import pytest
from typer.testing import CliRunner

from ops.cli.app import app
from tests.support.console import NOW, Console

ANSWERS = """INSERT INTO interactions BY NAME SELECT 'i-' || n AS id, $now::TIMESTAMP - to_hours($hours) AS time,
    'reviews' AS model, 1 AS version, 'champion' AS arm, 0.0 AS share, 'chat' AS endpoint,
    CASE WHEN n < 60 THEN 200 ELSE 502 END AS status, 1.0 AS latency_ms, FALSE AS streamed, 'u' || n % 20 AS user_id
    FROM range(90) numbers(n)"""
VOTES = """INSERT INTO feedback (id, time, interaction_id, type, value, metadata, model, arrived)
    SELECT kind || n, $now::TIMESTAMP - to_hours(1), 'i-' || n, kind,
        CASE WHEN kind = 'label' THEN '"a"' WHEN n % 5 = 0 THEN 'false' ELSE 'true' END, '{}', 'reviews',
        $now::TIMESTAMP
    FROM range(30) numbers(n), (VALUES ('thumbs'), ('label')) kinds(kind) WHERE kind = 'thumbs' OR n < 6"""
ASKED = {"users": 500.0, "requests": 2.0, "voted": 0.3, "labelled": 0.1, "approval": 0.6, "gain": 0.1}


@pytest.fixture
def console() -> Console:
    return Console()


def test_the_page_computes_what_the_command_does(console: Console) -> None:
    query = "&".join(f"{name}={value:g}" for name, value in ASKED.items())
    found = console.client.get(f"/plan.json?model=reviews&{query}").json()
    options = [word for name, value in ASKED.items() for word in (f"--{name}", f"{value:g}")]
    done = CliRunner().invoke(app, ["plan", *options, "--json"])
    told = json.loads(done.stdout)
    assert found["steps"][:2] == told["steps"][:2]  # both models need the same labels
    assert found["audience"] == told["audience"] and found["audience"]["users_per_day"] == 500
    html = console.page(f"/plan?model=reviews&{query}")
    assert f">{found['steps'][0]['days']:.1f}<" in html and "--users 500 --requests 2" in html


def test_the_form_has_the_users_and_votes_of_the_last_day(console: Console) -> None:
    assert console.client.get("/plan.json?model=reviews").json()["measured"] == {}
    assert 'name="users" type="number" min="0" step="1" required value="1000"' in console.page("/plan?model=reviews")
    console.store._connection.execute(ANSWERS, {"now": NOW, "hours": 1})
    console.store._connection.execute(VOTES, {"now": NOW})
    found = console.client.get("/plan.json?model=reviews").json()
    assert found["measured"] == {"users": 20, "requests": 3, "voted": 0.5, "labelled": 0.1, "approval": 0.8}
    assert found["asked"]["gain"] == 0.05
    assert console.client.get("/plan.json?model=reviews&users=7").json()["asked"]["users"] == 7


def test_older_traffic_does_not_count(console: Console) -> None:
    console.store._connection.execute(ANSWERS, {"now": NOW, "hours": 25})
    assert console.client.get("/plan.json?model=reviews").json()["measured"] == {}


@pytest.mark.parametrize(
    ("query", "said"),
    [("voted=20", "voted: 20 is more than 1"), ("requests=0.5", "requests: 0.5"), ("users=many", "users: &#39;many")],
)
def test_a_wrong_number_is_named_with_its_fix(console: Console, query: str, said: str) -> None:
    answer = console.client.get(f"/plan?model=reviews&{query}")
    assert answer.status_code == 422 and said in answer.text


def test_an_unknown_model_is_named(console: Console) -> None:
    answer = console.client.get("/plan.json?model=nobody")
    assert answer.status_code == 404 and "nobody" in answer.text


def test_what_can_never_end_says_so(console: Console) -> None:
    html = console.page("/plan?model=reviews&voted=0&labelled=0")
    assert "can never decide" in html and "Without labels" in html
