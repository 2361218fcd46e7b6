"""Facts about several reviewers of one answer: what each gets, what each sees, and who settles a disagreement."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.clock import utc_now
from core.db import label_selection
from core.records import Feedback
from core.settings import build
from feedback.ingest import add
from tests.support import ingest
from tests.support.reviewed_console import REVIEWERS, ReviewedConsole
from tests.support.running_control import RunningControl, served_control


@pytest.fixture
def console(tmp_path: Path) -> ReviewedConsole:
    return ReviewedConsole(tmp_path)


def test_each_reviewer_gets_what_he_has_not_labelled_until_enough_have(console: ReviewedConsole) -> None:
    assert [console.doubtful(name) for name in REVIEWERS] == [["i0"]] * 3
    console.label("ada", "bad")
    assert [console.doubtful(name) for name in REVIEWERS] == [[], ["i0"], ["i0"]]
    console.label("bob", "bad")
    assert [console.doubtful(name) for name in REVIEWERS] == [[], [], []]
    first = console.drawn("ada")[0]
    console.label("ada", "good", "random")
    assert [first in console.drawn(name) for name in REVIEWERS] == [False, True, True]
    console.label("bob", "good", "random")
    assert [first in console.drawn(name) for name in REVIEWERS] == [False, False, False]


def test_an_answer_without_votes_that_looks_wrong_waits_for_each_reviewer(console: ReviewedConsole) -> None:
    strange = ingest.asked(
        "strange",
        time=console.clock(),
        model="reviews",
        user="u",
        answer="dunno",
        request={"messages": [{"role": "user", "content": "another"}]},
    )
    add(console.control.store, [strange])
    console.label("ada", "bad")
    console.label("ada", "bad")
    assert [console.doubtful(name) for name in REVIEWERS] == [[], ["i0", "strange"], ["i0", "strange"]]
    add(console.control.store, [Feedback("f9", console.clock(), "strange", None, "thumbs", True, None, "voter")])
    assert console.doubtful("bob") == ["i0"]


def test_with_one_reviewer_an_answer_leaves_the_queue_of_everybody(tmp_path: Path) -> None:
    console = ReviewedConsole(tmp_path, reviewers=1)
    console.label("ada", "bad")
    assert [console.doubtful(name) for name in REVIEWERS] == [[], [], []]


def test_nobody_sees_the_label_of_another_before_his_own(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    console.log_in("bob")
    queue = console.browser.get("/feedback/queue?model=reviews").text
    assert "2 reviewers label this answer" in queue and console.id_of("ada") not in queue
    assert "1 thumbs down, 0 up, 0 flags." in re.sub(r"\s+", " ", queue)
    for path in ("/feedback/i0", "/feedback?kind=label"):
        assert "hidden until you label this answer" in console.browser.get(path).text, path
    (row,) = [row for row in console.browser.get("/feedback/i0.json").json()["votes"] if row["type"] == "label"]
    assert row["value"] is None and row["hidden"]
    assert console.browser.get("/feedback.json?kind=label").json()["feedback"][0]["value"] is None
    console.label("bob", "bad")
    assert "hidden until" not in console.browser.get("/feedback/i0").text
    console.log_in("cleo")  # enough have labelled it
    assert "hidden until" not in console.browser.get("/feedback/i0").text


def test_a_taken_back_label_brings_the_answer_back_to_its_reviewer(console: ReviewedConsole) -> None:
    location = console.label("ada", "bad")
    console.label("bob", "good")
    console.log_in("ada")
    assert console.agreement()["to_adjudicate"] == 1
    fields = {"last": location.partition("last=")[2], "token": token(console, location)}
    assert console.browser.post("/feedback/queue/undo?model=reviews", data=fields).status_code == 303
    assert [console.doubtful(name) for name in REVIEWERS] == [["i0"], [], ["i0"]]
    assert console.agreement()["to_adjudicate"] == 0


def token(console: ReviewedConsole, path: str) -> str:
    found = re.search(r'name="token" value="(\w+)"', console.browser.get(path).text)
    assert found
    return found[1]


def test_a_disagreement_is_no_truth_until_it_is_adjudicated_and_that_can_be_undone(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    assert console.rows() == [("i0", "bad")]
    console.label("bob", "good")
    assert console.rows() == []
    (listed,) = console.agreement()["disagreements"]
    assert listed["interaction_id"] == "i0"
    assert listed["labels"] == {console.id_of("ada"): "bad", console.id_of("bob"): "good"}
    console.log_in("cleo")
    page = "/feedback/agreement?model=reviews"
    assert console.form(page, label="odd").status_code == 422
    decided = console.form(page, label="bad")
    assert decided.status_code == 303
    assert console.rows() == [("i0", "bad"), ("i0", "bad")]  # Ada's and the adjudicator's
    after = console.browser.get(decided.headers["location"])
    assert "You decided <strong>bad</strong>" in after.text
    assert console.agreement()["states"] == {"adjudicated": 1}
    again = {"label": "good", "interaction_id": "i0", "token": token(console, page)}
    assert console.browser.post(page, data=again).status_code == 409
    undone = {"last": decided.headers["location"].partition("last=")[2], "token": again["token"]}
    console.log_in("ada")
    other = console.browser.post(
        "/feedback/agreement/undo?model=reviews", data=undone | {"token": token(console, "/feedback/queue")}
    )
    assert other.status_code == 404  # Cleo's
    console.log_in("cleo")
    undone["token"] = token(console, page)
    assert console.browser.post("/feedback/agreement/undo?model=reviews", data=undone).status_code == 303
    assert console.agreement()["to_adjudicate"] == 1 and console.rows() == []


def test_an_adjudication_does_not_change_the_agreement_of_its_reviewer(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    console.label("bob", "good")
    console.form("/feedback/agreement?model=reviews", label="bad")
    found = console.agreement()
    assert (found["agreement"]["value"], found["agreement"]["n"]) == (0.0, 1)
    assert [row["labels"] for row in found["by_reviewer"]] == [1, 1]


def test_the_audit_leaves_out_drawn_answers_on_which_reviewers_disagree(console: ReviewedConsole) -> None:
    def audited() -> tuple[int, float]:
        within: dict[str, Any] = {
            "since": console.clock().replace(year=2000),
            "until": console.clock().replace(year=9000),
        }
        parts = label_selection.audit(
            console.control.store, model="reviews", **within, most=100.0, labels=["good", "bad"], reviewers=2
        )
        return parts["drawn"]["labels"], parts["drawn"]["up"]

    console.label("ada", "good", "random")
    assert audited() == (1, 1.0)
    console.label("bob", "bad", "random")
    assert audited() == (0, 0.0)
    console.form("/feedback/agreement?model=reviews", label="bad")
    assert audited() == (1, 0.0)


def test_the_page_and_the_api_say_the_same_and_the_page_needs_texts(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    console.label("bob", "bad")
    page = console.browser.get("/feedback/agreement?model=reviews").text
    assert "1 of 1 answers have labels of two reviewers or more" in page
    assert "Reviewers disagree about no answer" in page
    found = console.agreement()
    assert found["pairs"][0]["agreement"]["value"] == 1.0 and found["pairs"][0]["kappa"]["value"] is None
    key = console.control.keyring.make(NewKey("numbers", (Scope.OPS_NUMBERS,)), "test").key
    shown = {"headers": {"Authorization": f"Bearer {key}"}}
    api = console.browser.get("/api/feedback/agreement?model=reviews", **shown).json()
    assert {name: found[name] for name in api if name != "disagreements"} == {
        name: value for name, value in api.items() if name != "disagreements"
    }
    assert console.browser.get("/feedback/agreement.json?model=reviews", **shown).status_code == 403
    assert console.browser.get("/api/feedback/agreement?model=nope", **shown).status_code == 404


def test_only_a_model_with_labels_can_have_several_reviewers() -> None:
    with pytest.raises(Exception, match="only labels can be compared"):
        build({"models": {"texts": {"task": "generate", "feedback": {"reviewers": 2}}}})


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


def test_the_command_prints_counts_agreement_and_what_waits(control: RunningControl) -> None:
    now = utc_now()
    asked = [ingest.asked(f"i{n}", time=now, model="reviews", user="u", answer="a") for n in range(40)]
    labels = [
        Feedback(f"{who}{n}", now, f"i{n}", None, "label", label, None, f"reviewer:{who}")
        for n in range(40)
        for who, label in (("ada", "ab"[n % 2]), ("bob", "ab"[n % 2 if n % 10 else 1]))
    ]
    add(control.store, [*asked, *labels])
    done = control.run("feedback", "agreement", "reviews")
    assert done.exit_code == 0, done.output
    assert "40 of 40 answers have labels of several reviewers, in 90 days. 0 wait for an adjudication." in done.stdout
    assert "0.90 [0.77, 0.96]" in done.stdout and "reviewer:ada" in done.stdout
    found = json.loads(control.run("feedback", "agreement", "reviews", "-o", "json").stdout)
    (pair,) = found["pairs"]
    # 20 labels of each kind by Ada, 16 and 24 by Bob, 36 of 40 the same: (0.9 - 0.5) / 0.5.
    assert pair["kappa"]["value"] == pytest.approx(0.8) and pair["agreement"]["n"] == 40
