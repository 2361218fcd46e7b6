"""Facts about the log of decisions by run: what belongs together, in which order, and what a page reads."""

import re
from datetime import timedelta
from html import unescape

import pytest

from core.db import runs, versions
from ops.console import decision_groups, pages
from tests.support.console import NOW, Console, full_evidence, look_body


@pytest.fixture
def console() -> Console:
    return Console()


def begin(console: Console, run: str = "run-1", candidate: int = 7, state: str = "finished") -> None:
    """A run that began an hour before the first decision, and whose candidate was trained 20 minutes later."""
    began = NOW - timedelta(hours=1)
    about = {"model": "reviews", "trigger": "t", "state": "evaluating"}
    runs.add(console.store, id=run, started=began, feedback_until=began, **about)
    runs.set_candidate(console.store, candidate=candidate, id=run)
    plain = {"path": "/v", "sha256": "ab" * 32, "rank": 16, "kind": "adapter", "time": began + timedelta(minutes=20)}
    name = f"reviews@{candidate}"
    versions.add(console.store, model="reviews", version=candidate, engine_name=name, run_id=run, **plain)
    runs.set_state(console.store, state=state, reason=None, time=NOW, id=run)


def entries(html: str) -> list[str]:
    """The text of each entry of the log, with one space between words."""
    log = html[html.index('<ol class="log"') : html.index("</main>")].split('<p class="after"', maxsplit=1)[0]
    parts = re.split(r"<li>\s*<div>", log)[1:]
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", part)).split()) for part in parts]


def test_the_rows_of_a_run_are_one_entry_with_its_steps_in_order(console: Console) -> None:
    begin(console)
    console.add_decision("canary_started", run_id="run-1", evidence=full_evidence())
    console.look(1, look_body(200, 0.05, 0.04))
    console.look(2, look_body(400, 0.05, 0.04), "pass")
    console.count += 30
    console.add_decision("promoted", run_id="run-1", reason="It won.")
    console.add_decision("switched", run_id="run-1")
    (entry,) = entries(console.page("/promotions"))
    steps = (
        "Run started 2026-03-01 02:00:00 UTC",
        "v7 trained 20 min later",
        "Offline gate: 3 of 5 checks 41 min later",
        "Canary started 0 s later",
        "2 looks 1 min later",
        "Promoted 30 min later",
        "Switched 1 min later",
    )
    assert entry.endswith(" ".join(steps)), entry
    assert entry.startswith("✓ Promoted reviews v6 → v7") and "It won." in entry
    assert "macro F1 0.610 → 0.690" in entry and "gates 3/5" in entry
    summary = console.tabs("/promotions/dec-1")["summary"]
    assert "v7 trained" in summary and 'href="/runs/run-1">Run started' in summary


def test_a_run_that_goes_on_says_its_state_and_a_decision_without_a_run_has_no_steps(console: Console) -> None:
    begin(console, state="canary")
    console.add_decision("canary_started", run_id="run-1")
    console.add_decision("frozen", reason="Wait.")
    alone, running = entries(console.page("/promotions"))
    assert running.endswith("now: canary") and "Model frozen" in alone and "later" not in alone


def test_a_run_on_two_pages_is_shown_once_and_the_twin_keeps_every_row(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "A_PAGE", 2)
    begin(console)
    begin(console, "run-2", 8)
    for verdict, run in (("kept", "run-2"), ("canary_started", "run-1"), ("promoted", "run-1"), ("switched", "run-1")):
        console.add_decision(verdict, run_id=run)
    (first,) = entries(console.page("/promotions"))
    assert "Canary started" in first and first.startswith("✓ Promoted")
    (second,) = entries(console.page("/promotions?before=3"))
    assert second.startswith("= Champion kept")
    found = console.client.get("/promotions.json?before=3").json()
    assert [row["verdict"] for row in found["decisions"]] == ["canary_started", "kept"]
    console.add_decision("switched", run_id="run-2")
    assert "belong to runs on the page before" in console.page("/promotions?before=3")


def test_a_filter_chooses_the_entry_and_what_leads_it_and_keeps_the_steps(console: Console) -> None:
    begin(console)
    console.add_decision("canary_started", run_id="run-1", reason="It began.")
    console.add_decision("rolled_back", run_id="run-1", trigger="canary", reason="Harm.")
    console.add_decision("switched", run_id="run-1", reason="It took 41 ms.")
    (entry,) = entries(console.page("/promotions?verdict=canary_started"))
    assert entry.startswith("◔ Canary started") and "It began." in entry and "Rolled back" in entry
    (entry,) = entries(console.page("/promotions?verdict=switched"))
    assert "It took 41 ms." in entry
    assert len(entries(console.page("/promotions?model=reviews&since=2026-03-01&until=2026-03-02"))) == 1


def test_a_switch_without_a_run_is_a_step_of_its_decision(console: Console) -> None:
    console.add_decision("rolled_back", trigger="person")
    console.add_decision("switched", trigger="person", live={"decision": "dec-1", "switch_ms": 4.0})
    console.add_decision("switched", trigger="restart", live={"decision": "unknown", "switch_ms": 4.0})
    alone, entry = entries(console.page("/promotions"))
    assert entry.startswith("↩ Rolled back") and entry.endswith("Switched 1 min later")
    assert alone.startswith("⇄ Switched")


def test_a_run_of_many_steps_shows_the_first_and_the_last(console: Console) -> None:
    begin(console)
    for _ in range(20):
        console.add_decision("canary_paused", run_id="run-1")
        console.add_decision("canary_resumed", run_id="run-1")
    console.add_decision("promoted", run_id="run-1")
    page = console.page("/promotions")
    (entry,) = entries(page)
    assert "Run started" in entry and entry.endswith("Promoted 1 min later") and "31 more" in entry
    assert page.count("later</time>") == decision_groups.MOST_STEPS - 1
    assert "31 more" in console.tabs("/promotions/dec-1")["summary"]


def test_a_page_reads_the_runs_of_its_own_rows_with_as_many_queries_as_ever(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    rows_in = console.store.rows_in
    monkeypatch.setattr(
        console.store, "rows_in", lambda name, ids, **more: asked.append((name, len(ids))) or rows_in(name, ids, **more)
    )
    for number in range(60):
        console.add_decision("kept", run_id=f"run-{number}")
        console.add_decision("skipped", run_id=f"run-{number}")
    console.page("/promotions")
    names = [name for name, _ in asked]
    assert len(names) == len(set(names)) + 2, names  # bodies: of the page, of leads and of switches elsewhere
    assert max(count for _, count in asked) <= pages.A_PAGE + 1
