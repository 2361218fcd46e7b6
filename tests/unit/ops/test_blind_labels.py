"""Facts about blind labels: what a reviewer reads does not depend on labels that are hidden from this person."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.db import evaluations
from core.db.quarantines import Predicate
from core.records import Feedback
from feedback.ingest import add
from feedback.snapshot import create_snapshot
from ops.actions import Actions, By
from ops.blind_labels import BlindLabels
from ops.console import page_data
from ops.console.badges import KEPT
from tests.support.reviewed_console import ReviewedConsole

AGREEMENT = "/feedback/agreement?model=reviews"


@pytest.fixture
def console(tmp_path: Path) -> ReviewedConsole:
    return ReviewedConsole(tmp_path)


def value_of(console: ReviewedConsole, words: str) -> list[Any]:
    found = console.browser.get(f"/feedback.json?words={words}").json()["feedback"]
    return [row["value"] for row in found if row["type"] == "label"]


def test_a_search_finds_no_label_that_is_hidden_and_the_person_who_gave_it_finds_it(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    assert value_of(console, "bad") == ["bad"]
    console.log_in("bob")
    for words in ("bad", "good"):
        found = console.browser.get(f"/feedback.json?words={words}").json()
        assert (found["feedback"], found["next"]) == ([], None)
    assert "not in what other reviewers said" in console.browser.get("/feedback?words=bad").text
    assert value_of(console, "reviewer:") == [None] and value_of(console, "i0") == [None]
    console.log_in("reader")  # cannot label
    assert value_of(console, "bad") == ["bad"]


def test_a_search_looks_into_labels_of_users_and_of_models_with_one_reviewer(tmp_path: Path) -> None:
    console = ReviewedConsole(tmp_path, reviewers=1)
    console.label("ada", "bad")
    console.log_in("bob")
    assert value_of(console, "bad") == ["bad"]


def test_a_search_finds_labels_of_users_with_several_reviewers(console: ReviewedConsole) -> None:
    add(console.control.store, [Feedback("f8", console.clock(), "i1", None, "label", "bad", None, "voter")])
    console.log_in("bob")
    assert value_of(console, "bad") == ["bad"]


def test_a_label_on_an_answer_that_has_not_come_in_is_hidden_too(console: ReviewedConsole) -> None:
    said = Feedback(
        "f7", console.clock(), "later", None, "label", "bad", "so bad", console.id_of("ada"), {"why": "bad"}
    )
    add(console.control.store, [said])
    console.log_in("bob")
    (row,) = console.browser.get("/feedback.json?kind=label").json()["feedback"]
    assert (row["value"], row["comment"], row["metadata"]) == (None, None, {})
    assert value_of(console, "bad") == []


def test_agreement_leaves_out_answers_that_the_reader_can_still_label(tmp_path: Path) -> None:
    console = ReviewedConsole(tmp_path, reviewers=3)
    console.label("ada", "bad")
    console.label("bob", "good")
    console.log_in("cleo")
    found = console.agreement()
    assert found["hidden"] == 1 and found["labelled"] == 0 and found["agreement"]["n"] == 0 and found["pairs"] == []
    assert "1 answer that you can still label is left out" in console.browser.get(AGREEMENT).text
    shown: dict[str, Any] = {"headers": {"Authorization": f"Bearer {console.made['cleo'].key}"}}
    assert console.browser.get(f"/api{AGREEMENT}", **shown).json()["hidden"] == 1
    console.log_in("ada")
    assert console.agreement()["hidden"] == 0 and console.agreement()["agreement"]["n"] == 1
    console.log_in("reader")
    assert console.agreement()["agreement"]["n"] == 1


def test_exports_leave_hidden_labels_out_and_say_so(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    admin = console.control.keyring.make(NewKey("admin", (Scope.ADMIN,)), "test")
    shown: dict[str, Any] = {"headers": {"Authorization": f"Bearer {admin.key}"}}

    def exported(query: str = "") -> tuple[list[str], str | None]:
        answer = console.browser.get(f"/api/export/feedback{query}", **shown)
        kinds = [json.loads(line)["type"] for line in answer.text.splitlines()]
        return kinds, answer.headers.get("X-LoraLoop-Labels-Left-Out")

    assert exported() == (["thumbs"], "reviews")
    assert exported("?model=reviews") == (["thumbs"], "reviews")
    assert exported("?hidden_labels=true") == (["thumbs", "label"], None)
    console.label("bob", "bad")
    assert exported() == (["thumbs", "label", "label"], "reviews")


def test_rows_of_a_snapshot_leave_open_answers_out(console: ReviewedConsole, tmp_path: Path) -> None:
    console.label("ada", "bad")
    settings = console.control.settings.models["reviews"]
    kept = create_snapshot(
        console.control.store, "reviews", settings, run_id="run-1", folder=tmp_path / "kept", clock=console.clock
    )
    admin = console.control.keyring.make(NewKey("admin", (Scope.ADMIN,)), "test")
    shown: dict[str, Any] = {"headers": {"Authorization": f"Bearer {admin.key}"}}

    def rows(query: str = "") -> list[str]:
        path = f"/api/snapshots/{kept.hash}/rows?{query}"
        lines = console.browser.get(f"{path}&format=openai", **shown).text.splitlines()
        table = pq.read_table(pa.BufferReader(console.browser.get(path, **shown).content))
        assert len(table) == len(lines)
        return table["label"].to_pylist()

    assert rows() == [] and rows("hidden_labels=true") == ["bad"]
    console.label("bob", "bad")
    assert rows() == ["bad"]


def test_answers_that_no_reviewer_labelled_are_shown(console: ReviewedConsole) -> None:
    store, models = console.control.store, console.control.settings.models
    console.label("ada", "bad")
    blind = BlindLabels.of(store, models, console.id_of("bob"))
    assert blind.open_answers("reviews", ["i0", "i1", "of nobody"]) == {"i0"}


def test_the_worst_regressions_leave_open_answers_out(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    row = {"run_id": "run-1", "place": 0, "interaction_id": "i0", "kpi": "accuracy", "wanted": "bad"}
    with console.control.store.transaction() as transaction:
        evaluations.add_regression(transaction, [row | {"champion": "bad", "candidate": "good", "loss": 1.0}])
    decision = {"run_id": "run-1", "model": "reviews", "evidence": {"primary": "accuracy"}}

    def wanted(name: str | None) -> list[str]:
        blind = BlindLabels.of(
            console.control.store, console.control.settings.models, console.id_of(name) if name else None
        )
        return [row["wanted"] for row in page_data.regressions(console.control.store, decision, blind)]

    assert wanted("bob") == [] and wanted("ada") == ["bad"] and wanted(None) == ["bad"]


def test_a_quarantine_hides_labels_that_the_reader_can_still_give(console: ReviewedConsole) -> None:
    console.label("ada", "bad")
    ada = Predicate(user=console.id_of("ada"))
    actions = Actions(console.control)
    (held,) = actions.hold("reviews", ada, By("test", ""))
    console.log_in("bob")
    page = console.browser.get(f"/quarantine/{held['id']}").text
    assert "hidden until you label this answer" in page
    shown: dict[str, Any] = {"headers": {"Authorization": f"Bearer {console.made['bob'].key}"}}
    (vote,) = console.browser.get(f"/api/quarantine/{held['id']}", **shown).json()["votes"]
    assert vote["value"] is None and vote["hidden"] and "user_id" not in vote
    console.log_in("ada")
    assert "hidden until" not in console.browser.get(f"/quarantine/{held['id']}").text


def test_the_badge_counts_what_this_person_can_still_label(console: ReviewedConsole) -> None:
    def badge(name: str) -> bool:
        console.log_in(name)
        return 'title="answer to label">1' in console.browser.get("/runs").text

    assert badge("ada") and badge("bob")
    console.label("ada", "bad")
    console.clock.now += KEPT
    assert not badge("ada") and badge("bob") and badge("reader")
    console.label("bob", "bad")
    console.clock.now += KEPT
    assert not badge("bob") and not badge("cleo") and not badge("reader")
