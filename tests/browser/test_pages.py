"""The console in Chromium before a running loop; the tests run in this order."""

import re
from pathlib import Path
from typing import Any

import pytest

from ops.console.decision_page import TABS
from tests.browser.conftest import PHONE, Visit
from tools.live_stack import LiveStack

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PAGES = (
    "/login",
    "/overview",
    "/promotions",
    "{decision}",
    *(f"{{decision}}?tab={tab}" for tab in TABS if tab != "summary"),
    "/models/notes",
    "/models/notes/compare",
    "/requests",
    "/usage",
    "/plan?model=notes",
    "/keys",
    "/feedback",
    "/feedback/queue?model=notes",
    "{interaction}",
    "/quarantine",
    "/runs",
    "{run}",
    "/system",
    "/audit",
    "/models/notes/retrain",
)
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
GRAVE = ("serious", "critical")


def every_page(page: Any) -> list[str]:
    """The pages, with the first link of each list for those that are about one thing."""
    first = {}
    for name, path, pattern in (
        ("decision", "/promotions", "/promotions/dec"),
        ("run", "/runs", "/runs/run"),
        ("interaction", "/feedback", "/feedback/chatcmpl"),
    ):
        page.goto(path)
        first[name] = page.locator(f'main a[href^="{pattern}"]').first.get_attribute("href")
    return [path.format(**first) for path in PAGES]


def faults(page: Any) -> list[tuple[str, str]]:
    """Serious findings of axe on the current page."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    report = page.evaluate("rules => axe.run(document, rules)", RULES)
    assert report["passes"], page.url
    grave = [fault for fault in report["violations"] if fault["impact"] in GRAVE]
    return [(fault["id"], fault["nodes"][0]["html"][:160]) for fault in grave]


def test_log_in_needs_a_key_and_refuses_a_wrong_one_with_a_sentence(visit: Visit) -> None:
    page = visit.page
    assert page.goto("/overview").status == 401
    page.get_by_label("Ops key").fill("llk_nobody_nothing")
    page.get_by_role("button", name="Log in").click()
    assert "wrong or no longer valid" in page.get_by_role("alert").inner_text()
    page.get_by_label("Ops key").fill(visit.loop.keys["ops"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/overview")
    assert page.evaluate("document.cookie") == ""


def test_a_decision_can_be_read_before_it_is_approved(visit: Visit) -> None:
    page = visit.log_in()
    page.get_by_role("link", name="approval waits", exact=True).click()
    text = page.inner_text("main")
    for words in ("Waits for approval", "The gate", "Four arms"):
        assert words in text, words
    tabs = page.get_by_role("navigation", name="Evidence")
    for tab, words in (
        ("KPIs", "Candidate against champion"),
        ("Texts that got worse", "Worst regressions"),
        ("Lineage", "What the candidate was made of"),
    ):
        tabs.get_by_role("link", name=tab).focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=words).wait_for()
        assert tabs.locator('[aria-current="page"]').inner_text().startswith(tab)
    assert "Four arms" in page.inner_text("main")


def test_feedback_is_filtered_and_searched(visit: Visit) -> None:
    page = visit.log_in()
    page.locator('nav a[href="/feedback"]').click()
    page.get_by_label("Kind").select_option("label")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**kind=label**", wait_until="load")
    rows = page.locator("tbody tr")
    assert rows.count() == 25 and all("label: " in text for text in rows.all_inner_texts())
    page.get_by_role("link", name="Older feedback").click()
    page.wait_for_url("**before**", wait_until="load")
    assert rows.count() == 25 and "kind=label" in page.url
    page.get_by_label("Words").fill("no such words")
    page.keyboard.press("Enter")
    page.get_by_text("No feedback matches").wait_for()


def test_doubtful_answers_are_labelled_by_keyboard_alone(visit: Visit) -> None:
    loop = visit.loop
    answers = [
        loop.ask("plain", f"reader-{n}", f"the film was {word}", "good") for n, word in enumerate(("lovely", "plain"))
    ]
    for answer in answers:
        loop._http.post("/v1/feedback", json={"interaction_id": answer.id, "type": "thumbs", "value": False})
    page = visit.log_in()

    def waiting() -> int:
        page.goto("/feedback/queue?model=plain")
        found = page.locator("#waiting")
        return int(found.inner_text().split()[0]) if found.count() else 0

    loop.wait(lambda: waiting() == 2, "two answers in doubt")
    page.keyboard.press("s")
    page.get_by_text("This one was drawn at random").wait_for()
    page.keyboard.press("3")
    page.get_by_text("1 answers are in doubt").wait_for()
    assert waiting() == 1
    labels = [row for row in loop.control.get("/api/feedback", model="plain") if row["type"] == "label"]
    assert [row["n"] for row in labels] == [1]


def test_an_answer_in_words_is_corrected_by_keyboard_alone(visit: Visit) -> None:
    loop = visit.loop
    answer = loop.ask("replies", "reader-1", "where is my parcel", "there")
    loop.vote(answer)
    page = visit.log_in()

    def waits() -> bool:
        page.goto("/feedback/queue?model=replies")
        return page.locator("#correction").count() == 1

    loop.wait(waits, "an answer in doubt")
    assert faults(page) == []
    page.keyboard.press("c")
    page.keyboard.press("Control+A")
    page.keyboard.type("It comes on Tuesday; 3 days late.")
    page.keyboard.press("Control+Enter")
    page.get_by_text("Nothing is in doubt").wait_for()
    said = loop.control.get("/api/feedback", model="replies")
    assert {row["type"]: row["n"] for row in said} == {"thumbs": 1, "correction": 1}


def test_an_approval_is_read_confirmed_and_lands_in_the_ledger(visit: Visit) -> None:
    page = visit.log_in()
    page.get_by_role("link", name="approval waits", exact=True).click()
    page.get_by_role("link", name="Approve v1").click()
    assert re.search(r"champion\s+v0\s+v1", page.inner_text("table"))
    page.get_by_label("Comment").fill("read by a person")
    page.get_by_role("button", name="Approve v1").click()
    page.wait_for_url("**/models/notes")
    assert "v1" in page.inner_text("#serves")
    assert visit.loop.model("notes")["champion"] == 1
    row = next(row for row in visit.loop.decisions("notes") if row["verdict"] == "promoted")
    assert row["actor"] == "environment-ops"


FACTS = {"serves": "v1", "since": "UTC", "why": "read", "data": "snapshot", "replaced": "v0", "undo": "Roll back to v0"}


def test_six_facts_are_at_most_two_clicks_from_the_front_page(visit: Visit) -> None:
    page = visit.log_in()
    page.get_by_role("rowheader").get_by_role("link", name="notes", exact=True).click()  # one click
    for fact, words in FACTS.items():
        said = page.inner_text(f"#{fact}")
        assert said.strip() and (words in said or fact == "why"), (fact, said)
    page.get_by_role("link", name="The whole decision").click()  # two
    assert "Four arms" in page.inner_text("main")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(chromium: Any, loop: LiveStack, scheme: str) -> None:
    visit = Visit(chromium, loop, color_scheme=scheme)
    page = visit.log_in()
    found = []
    for path in every_page(page):
        page.goto(path)
        found += [(path, *fault) for fault in faults(page)]
    visit.context.close()
    assert not found, found


@pytest.mark.parametrize("script", [True, False])
def test_a_term_opens_its_meaning_by_keyboard_and_by_touch(chromium: Any, loop: LiveStack, script: bool) -> None:
    visit = Visit(chromium, loop, java_script_enabled=script, viewport=PHONE, has_touch=True, is_mobile=True)
    page = visit.log_in()
    term, meaning = page.get_by_role("button", name="Champion", exact=True), page.locator("#term-champion")
    assert not meaning.is_visible()
    term.focus()
    page.keyboard.press("Enter")
    meaning.wait_for()
    assert "The version in service." in meaning.inner_text()
    box = meaning.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] and box["y"] + box["height"] <= PHONE["height"]
    if script:
        assert faults(page) == []
    page.keyboard.press("Escape")
    meaning.wait_for(state="hidden")
    term.tap()
    meaning.wait_for()
    visit.context.close()


def test_on_a_phone_no_page_scrolls_sideways(chromium: Any, loop: LiveStack) -> None:
    visit = Visit(chromium, loop, viewport=PHONE, device_scale_factor=2, has_touch=True, is_mobile=True)
    page = visit.log_in()
    for path in every_page(page):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    visit.context.close()


def test_a_roll_back_works_without_a_script_and_by_keyboard(chromium: Any, loop: LiveStack) -> None:
    visit = Visit(chromium, loop, java_script_enabled=False)
    page = visit.log_in()
    page.goto("/models/notes")
    page.get_by_role("link", name="Roll back to v0").first.focus()
    page.keyboard.press("Enter")
    page.get_by_label("Comment").fill("a drill")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/notes")
    assert loop.model("notes")["champion"] == 0
    rows = [row["verdict"] for row in loop.decisions("notes")]
    assert rows == ["awaiting_approval", "promoted", "switched", "rolled_back", "switched"]
    page.goto("/promotions")
    page.get_by_label("Verdict").select_option("rolled_back")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**verdict=rolled_back**", wait_until="load")
    listed = page.locator("ol.log > li")
    assert listed.count() == 1 and "Rolled back" in listed.first.inner_text()
    assert loop.control.get("/api/ledger")["ok"]
    visit.context.close()


def test_votes_are_counted_held_reviewed_and_released(visit: Visit) -> None:
    page = visit.log_in()
    page.locator('nav a[href="/quarantine"]').click()
    page.get_by_label("Model", exact=True).select_option("notes")
    page.get_by_label("From (UTC)").fill("2020-01-01")
    page.get_by_role("button", name="Count them").click()
    page.wait_for_url("**/hold**")
    assert "in quarantine, with votes that come later" in page.inner_text("main") and faults(page) == []
    page.get_by_role("button", name="Hold the votes").click()
    page.wait_for_url("**/quarantine/quar*")
    assert "waits for review" in page.inner_text("main") and page.locator("tbody tr").count() > 0
    assert faults(page) == []
    page.get_by_role("link", name="Release", exact=True).click()
    assert faults(page) == []
    page.get_by_label("Comment").fill("the votes are real")
    page.get_by_role("button", name="Release the votes").click()
    page.wait_for_url("**/quarantine/quar*")
    assert "released" in page.inner_text("dl.facts") and page.get_by_role("link", name="Release").count() == 0
    rows = visit.loop.decisions("notes")
    assert (rows[-1]["verdict"], rows[-1]["actor"]) == ("released", "environment-ops")


def test_a_freeze_is_two_clicks_away_said_on_the_front_page_and_ended_there(visit: Visit) -> None:
    page = visit.log_in()
    page.goto("/models/notes")
    page.get_by_role("link", name="Freeze").click()
    assert not faults(page)
    page.get_by_label("Comment").fill("no changes before the launch")
    page.get_by_role("button", name="Freeze the model").click()
    page.wait_for_url("**/models/notes")
    assert "no changes before the launch" in page.inner_text("#automatic") and not faults(page)
    page.goto("/overview")
    assert "notes is frozen" in page.inner_text("main")
    page.get_by_role("listitem").filter(has_text="notes is frozen").get_by_role("link").click()
    page.get_by_role("link", name="End the freeze").click()
    page.get_by_role("button", name="End the freeze").click()
    page.wait_for_url("**/models/notes")
    page.goto("/overview")
    assert "is frozen" not in page.inner_text("main")
