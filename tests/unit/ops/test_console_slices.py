"""Facts about slices on the decision page and in the command line."""

import re
from typing import Any

import pytest

from ops.cli import reports
from ops.console.svg.slices import MOST_DRAWN, slice_plot
from tests.support.console import EVIL, Console, full_evidence


def one(value: float | None, half: float = 0.1, name: str = "shop", **more: Any) -> dict[str, Any]:
    bounds = {"lower": None, "upper": None} if value is None else {"lower": value - half, "upper": value + half}
    return {
        "dimension": "app",
        "value": name,
        "kpi": "accuracy",
        "n": 1200,
        "voters": 80,
        "difference": {"value": value, "level": 0.0021, **bounds},
        "words": [],
    } | more


def evidence(*slices: dict[str, Any]) -> dict[str, Any]:
    found = full_evidence()
    found["gate"].append(
        {
            "name": "slices",
            "outcome": "fail",
            "reason": "In the slice app shop …",
            "value": 0.3,
            "bound": 0.2,
            "threshold": 0.1,
            "kind": "slices",
            "kpi": "accuracy",
            "against": None,
        }
    )
    return found | {"slices": {"judged": list(slices), "small": 3, "least": 50, "level": 0.0021}}


WORDS = [{"word": "refund", "lost": 14, "of_lost": 20, "rest": 3, "of_rest": 90}]


def test_the_decision_page_shows_each_slice_with_its_bounds_and_words() -> None:
    console = Console()
    shown = evidence(
        one(-0.3, words=WORDS), one(0.02, name="web"), one(0.1, 0.05, "good", dimension="label", kpi="label_f1")
    )
    console.add_decision("kept", evidence=shown)
    html = console.whole("/promotions/dec-1")
    text = " ".join(re.sub(r"<[^>]+>", " ", html[html.index("<h2>Slices</h2>") :]).split())
    assert "3 slices are judged, 3 are too small. Each bound has the level 0.0021" in text
    assert "app shop ✗ fell accuracy 1,200, 80 -0.300 -0.400 to -0.200" in text
    assert "refund 14 of 20 voters, in other items 3 of 90" in text
    assert "app web accuracy" in text and "label good F1 of its labels" in text
    assert text.count("fell") == 1


def test_a_slice_that_is_not_a_number_and_names_that_are_code_are_shown_as_text() -> None:
    console = Console()
    console.add_decision("kept", evidence=evidence(one(None, name=EVIL), one(-0.1)))
    html = console.whole("/promotions/dec-1")
    assert EVIL not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize("found", [None, {"judged": [], "small": 0, "least": 50, "level": 0.05}])
def test_decisions_without_slices_have_no_picture_of_them(found: Any) -> None:
    console = Console()
    console.add_decision("kept", evidence=full_evidence() | ({"slices": found} if found else {}))
    html = console.whole("/promotions/dec-1")
    assert "Slices of the held-out items" not in html
    assert ("0 slices are judged" in html) == bool(found)


def test_the_picture_has_the_lowest_slices_and_the_accepted_loss() -> None:
    many = [one(-0.3 + n / 100, name=f"s{n}") for n in range(MOST_DRAWN + 3)]
    drawn = str(slice_plot(many, 0.1))
    assert f"app s{MOST_DRAWN - 1} " in drawn and f"app s{MOST_DRAWN} " not in drawn
    assert "app s0 -0.300 (-0.400 to -0.200), 1200 items" in drawn
    assert drawn.count("s-accent") == 1 and str(slice_plot(many, None)).count("s-accent") == 0
    # Red are the slices whose whole interval is below the accepted loss: upper bounds from -0.20 to -0.11.
    assert drawn.count("<circle") == MOST_DRAWN and len(re.findall(r"<circle[^>]*f-bad", drawn)) == 10
    assert "No slice was measured." in str(slice_plot([], 0.1))


def test_the_command_line_lists_slices(capsys: pytest.CaptureFixture[str]) -> None:
    reports._slices(evidence(one(-0.3, words=WORDS)))
    said = " ".join(capsys.readouterr().out.split())
    assert "slices, 3 others are too small" in said
    assert "app shop" in said and "-0.300" in said and "refund" in said
    reports._slices({})
    assert capsys.readouterr().out == ""
