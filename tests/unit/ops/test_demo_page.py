"""Facts about the demo's page."""

import pytest

from demo.html_report import outcome, render
from ops.verdict_words import VERDICT_WORDS
from tests.support.console import ARMS, EVIL, GATE, demo_arm, report


def test_the_demo_page_leads_with_who_won_and_by_how_much() -> None:
    html = render(report())
    said = "The retrained adapter won its gates and took over: it got 69.0% of 330 held-out texts right, 8.0"
    assert said in html and html.index(said) < html.index("<table")


def test_the_demo_page_names_missed_targets_first() -> None:
    html = render(report())
    assert "Targets: 1 of 2 met" in html
    assert html.index("accuracy over one human rater") < html.index("no failed request")


@pytest.mark.parametrize("verdict", [*VERDICT_WORDS, "none", None])
def test_the_demo_page_renders_every_decision(verdict: str | None) -> None:
    decision = {"verdict": verdict, "reason": "The trainer was killed."} if verdict else None
    without = {arm: demo_arm(value) for arm, value in ARMS.items() if arm != "candidate"}
    html = render(report(decision=decision, arms=without, switch=None, ledger=[], waves=[], approval_over_time=[]))
    assert "none took place" in html
    assert (decision["reason"] if decision else "No decision was reached") in html


def test_a_wave_shows_how_each_version_was_approved() -> None:
    wave = {
        "name": "wave 2",
        "model": "reviews",
        "requests": 9,
        "failed": 0,
        "approval": None,
        "seconds": 3.0,
        "approval_by_version": {"0": 0.5, "1": 0.75},
        "versions": {"0": 4, "1": 5},
    }
    html = " ".join(render(report(waves=[wave])).split())
    assert "wave 2, reviews" in html and "v0: 4 (50.0%), v1: 5 (75.0%)" in html


def test_a_tie_is_not_called_a_gain() -> None:
    arms = {arm: demo_arm(0.6) for arm in ARMS}
    said = outcome(report(arms=arms, decision={"verdict": "inconclusive", "reason": "No gain."}))
    assert "could not be shown to win" in said and "as many as the champion (60.0%)" in said


def test_the_demo_page_escapes_what_it_is_given() -> None:
    changes = {
        "labels": [EVIL, "b", "c"],
        "notes": [EVIL],
        "model": EVIL,
        "base_prompt": EVIL,
        "targets": [{"name": EVIL, "value": EVIL, "wanted": EVIL, "met": False}],
        "seconds": {EVIL: 1.0},
        "decision": {"verdict": "kept", "reason": EVIL, "gate": [GATE[1] | {"name": EVIL}], "looks": []},
    }
    html = render(report(**changes))
    assert "<script" not in html and "&lt;script&gt;" in html
