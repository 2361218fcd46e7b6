"""Facts about the page that compares two versions: which it takes, what it shows of both, and what is the same."""

from pathlib import Path

import pytest

from tests.support.console import TERM
from tests.support.pictured_console import PicturedConsole


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> PicturedConsole:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
        return PicturedConsole(Path(tmp_path_factory.mktemp("compare")))


def rows(console: PicturedConsole, query: str = "") -> dict[str, tuple[object, object]]:
    found = console.browser.get(f"/models/reviews/compare.json{query}").json()
    return {row["name"]: (row["first"], row["second"]) for group in found["groups"] for row in group["rows"]}


def test_without_a_choice_the_champion_and_its_canary_are_compared_on_the_same_items(console: PicturedConsole) -> None:
    html = TERM.sub(r"\1", console.browser.get("/models/reviews/compare").text)
    assert "<h1>reviews: v7 and v8</h1>" in html and "Both were judged on the same holdout" in html
    found = rows(console)
    assert found["macro_f1"] == (0.61, 0.71) and found["learning rate"] == (0.0005, 0.0005)
    assert "<td>0.0005</td>" in html
    assert found["thumbs"][0] and found["thumbs"][1] is None and 0 < float(str(found["share of thumbs up"][0])) < 1


def test_versions_that_never_met_are_compared_with_a_warning(console: PicturedConsole) -> None:
    html = TERM.sub(r"\1", console.browser.get("/models/reviews/compare?first=2&second=5").text)
    assert "Each was judged in its own run" in html and "Rows that differ have a colour" in html
    assert rows(console, "?first=2&second=5")["macro_f1"] == (0.63, 0.67)
    assert '<tr class="first"><th scope="row">macro F1</th>' in html and '<tr><th scope="row">kind</th>' in html


def test_the_base_model_can_be_compared_and_a_version_that_is_not_there_is_named(console: PicturedConsole) -> None:
    assert "v0" in console.browser.get("/models/films/compare").text
    answer = console.browser.get("/models/reviews/compare?second=99")
    assert answer.status_code == 404 and "reviews@99" in answer.text
    assert console.browser.get("/models/nothing/compare").status_code == 404
    assert console.browser.get("/models/films/compare?first=1").status_code == 404
    assert 'href="/models/reviews/compare"' in console.browser.get("/models/reviews").text
