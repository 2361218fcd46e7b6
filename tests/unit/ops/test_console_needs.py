"""Facts about what needs a person: alarms first, then what waits for a decision, each with the page for it."""

from typing import Any

from ops.console.needs import needs
from tests.support.console import EVIL, Console


def model(**changes: Any) -> dict[str, Any]:
    return {"model": "reviews", "awaiting": None, "run": None, "paused": None, "frozen": None} | changes


def alarm(sentence: str, model: str | None = None) -> dict[str, Any]:
    return {"sentence": sentence, "model": model}


def test_nothing_needs_a_person_where_nothing_waits():
    assert needs([], [model()], {}) == []
    assert needs([], [model(run={"id": "r", "state": "training"})], {"movies": 1}) == []


def test_alarms_come_first_and_everything_has_its_page():
    paused = model(awaiting="dec-7", run={"id": "run-1", "state": "paused"})
    found = needs([alarm("The disk has 1.0 GiB left.")], [paused], {"reviews": 2})
    assert [need.urgent for need in found] == [True, False, False, False]
    assert [need.href for need in found] == ["/system", "/promotions/dec-7", "/runs/run-1", "/quarantine?model=reviews"]
    assert "2 quarantines wait for review" in found[-1].text
    (one,) = needs([], [model()], {"reviews": 1})
    assert "1 quarantine waits for review" in one.text


def test_a_paused_canary_and_a_freeze_wait_for_a_person():
    found = needs([], [model(paused={"since": None, "share": 0.1}, frozen={"actor": "ann"})], {})
    assert [need.href for need in found] == ["/models/reviews", "/models/reviews"]
    assert "a canary is paused" in found[0].text and "reviews is frozen" in found[1].text


def test_an_alarm_about_a_model_links_to_the_model():
    (need,) = needs([alarm("The canary a/b@2 is stuck.", "a/b")], [], {})
    assert need.urgent and need.href == "/models/a%2Fb"


def test_names_are_quoted_in_links():
    (need,) = needs([], [model(model="a/b&c")], {"a/b&c": 1})
    assert need.href == "/quarantine?model=a%2Fb%26c"


def test_the_front_page_names_what_waits_with_a_link():
    console = Console()
    console.store._connection.execute(
        "INSERT INTO quarantines (id, model, version, decision_id, time, state) "
        "VALUES ('q1', 'reviews', 7, 'dec-1', now(), 'held')"
    )
    html = console.page("/overview")
    assert "What needs you" in html and 'role="alert"' in html
    assert "reviews: 1 quarantine waits for review." in html and 'href="/quarantine?model=reviews"' in html
    assert "No engine has been checked yet." in html and 'href="/system"' in html
    found = console.client.get("/overview.json").json()["needs"]
    assert found[0]["urgent"] and found[-1]["link"] == "Review"


def test_the_refresh_of_the_front_page_keeps_the_chosen_model():
    assert 'hx-get="/overview?model=reviews"' in Console().page("/overview?model=reviews")
    assert EVIL not in Console().client.get(f"/overview?model={EVIL}").text
