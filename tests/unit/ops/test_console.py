"""Facts about the console's pages and the demo's page, on the real store, ledger and views."""

import re
from datetime import timedelta
from html import unescape

import pytest

from core.db import routes, runs
from demo.html_report import render
from tests.support.console import EVIL, LINEAGE, NOW, Console, full_evidence, look_body, report


@pytest.fixture
def console() -> Console:
    return Console()


def test_a_page_carries_the_content_security_policy(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence())
    for path in ("/promotions", "/promotions/dec-1"):
        policy = console.client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy


def test_no_page_needs_anything_from_elsewhere(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence(), lineage=LINEAGE)
    for html in (console.page("/promotions"), console.page("/promotions/dec-1"), render(report())):
        assert not re.search(r"<script(?! src)|<iframe|@import|url\(|src=(?!\"/static/)|href=\"https?:|\son\w+=", html)


def test_before_the_first_decision_the_page_says_what_will_appear(console: Console) -> None:
    html = console.page("/promotions")
    assert "No decision yet" in html and "loraloop runs start reviews" in html
    assert "no earlier champion to go back to" in console.page("/models/reviews")


def test_the_front_page_shows_the_gain_with_its_bounds_and_the_gates_passed(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence())
    html = console.page("/promotions")
    assert "macro F1 0.610 → <strong>0.690</strong>" in html
    assert "+0.080, bounds +0.031 to +0.120" in html and "gates 3/5" in html


def test_a_gain_without_bounds_still_has_its_row(console: Console) -> None:
    evidence = full_evidence()
    evidence["differences"]["macro_f1"]["champion"] |= {"lower": None, "upper": None}
    console.add_decision("inconclusive", evidence=evidence)
    assert "bounds – to –" in console.page("/promotions")
    console.page("/promotions/dec-1")


def test_the_filter_shows_one_models_decisions(console: Console) -> None:
    console.add_decision("kept", reason="Of reviews.")
    console.add_decision("kept", reason="Of movies.", model="movies")
    html = console.page("/promotions?model=movies")
    assert "Of movies." in html and "Of reviews." not in html
    assert "/promotions.json?model=movies" in html


def test_a_filter_for_no_model_is_escaped(console: Console) -> None:
    assert EVIL not in console.page(f"/promotions?model={EVIL}")


def test_the_canary_shows_on_the_overview_and_the_way_back_on_the_page_of_its_model(console: Console) -> None:
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
    html = console.page("/overview")
    assert "<strong>v8</strong>" in html and "10% of users" in html
    assert "loraloop models rollback reviews --to 6" in console.page("/models/reviews")


def test_text_from_outside_is_escaped(console: Console) -> None:
    evidence = full_evidence()
    evidence["labels"] = [EVIL, "b", "c"]
    evidence["base_prompt"] = EVIL
    evidence["gate"][0] |= {"name": EVIL, "reason": EVIL}
    console.look(1, look_body(4, 0.5, None), "wait", EVIL)
    console.add_decision(
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


def test_a_whole_and_a_broken_ledger_differ_on_the_page(console: Console) -> None:
    console.add_decision("promoted")
    assert "The ledger is whole" in console.page("/promotions")
    console.store._connection.execute("UPDATE decisions SET reason = 'It was otherwise.'")
    console.control.ledger.walk()
    assert "The ledger is broken" in console.page("/promotions")


def test_rows_of_the_same_run_link_to_each_other(console: Console) -> None:
    console.add_decision("canary_started", run_id="run-1")
    console.add_decision("promoted", run_id="run-1")
    assert 'href="/promotions/dec-1"' in console.page("/promotions/dec-2")


def test_a_page_links_to_its_json_twin(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence(), lineage=LINEAGE)
    assert 'href="/promotions/dec-1.json"' in console.page("/promotions/dec-1")
    assert console.client.get("/promotions/dec-1.json").json()["decision"]["verdict"] == "promoted"
    assert console.client.get("/promotions.json").json()["ledger"]["ok"] is True


def test_an_unknown_decision_is_an_error_not_a_page(console: Console) -> None:
    for path in ("/promotions/nothing", "/runs/nothing", "/models/nothing"):
        answer = console.client.get(path)
        assert answer.status_code == 404 and "<h1>Not found</h1>" in answer.text and "not done" not in answer.text, path
    answer = console.client.get("/models/reviews/canary/stop")
    assert answer.status_code == 409 and "<h1>This cannot be done now</h1>" in answer.text
    answer = console.client.get("/promotions?since=yesterday")
    assert answer.status_code == 422 and "<h1>This cannot be shown</h1>" in answer.text


def test_an_unknown_path_is_a_page_for_a_browser_and_json_for_a_program(console: Console) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    shown = console.client.get("/nothing/here<b>", headers=browser)
    assert shown.status_code == 404 and "<h1>Not found</h1>" in shown.text and "here<b>" not in shown.text
    assert shown.headers["content-security-policy"]
    assert console.client.get("/nothing", headers={"Accept": "*/*"}).json()["error"]["code"] == "http_error"
    with_key = browser | {"Authorization": "Bearer k"}
    assert console.client.get("/nothing.json", headers=browser).json()["error"]["message"] == "Not Found."
    assert console.client.get("/nothing", headers=with_key).json()["error"]["message"] == "Not Found."


def test_older_runs_follow_each_other_without_gap_or_overlap(console: Console) -> None:
    for number in range(60):
        moment = NOW - timedelta(minutes=number // 4)  # four begin in the same moment
        runs.add(
            console.store,
            id=f"r{number:02}",
            model="reviews",
            trigger="t",
            state="x",
            started=moment,
            feedback_until=NOW,
        )
    seen, path = list[str](), "/runs?model=reviews"
    while path:
        html = console.page(path)
        seen += re.findall(r'href="/runs/(r\d+)"', html)
        link = re.search(r'rel="next" href="([^"]+)"', html)
        path = unescape(link[1]) if link else ""
    assert sorted(seen) == [f"r{number:02}" for number in range(60)] and seen[:4] == ["r03", "r02", "r01", "r00"]
    assert "Older runs" not in console.page("/runs?model=movies")


def test_tables_say_what_their_headers_are_for_and_pages_can_be_skipped_into(console: Console) -> None:
    console.add_decision("promoted", evidence=full_evidence(), lineage=LINEAGE, live=look_body(200, 0.05, 0.04))
    html = console.page("/promotions/dec-1")
    assert not re.search(r"<th(?![^>]*scope=)[ >]", html)
    assert 'class="skip" href="#main"' in html and 'id="main"' in html and '<html lang="en">' in html
