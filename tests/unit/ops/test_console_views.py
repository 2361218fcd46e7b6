"""Facts about the data of the console's pages: filters, pages by key, the study of a model, alarms, the ledger."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from core.db.store import Store
from core.hash_chain import ChainReport
from core.ledger import append, verify_store
from core.records import Decision, Feedback, Interaction, Verdict
from feedback.ingest import add
from ops import views
from ops.blind_labels import BlindLabels
from ops.console import feedback_data, page_data
from ops.console.svg import history
from ops.console.svg.gate import forest
from ops.ledger_verifier import LedgerWatch
from tests.support.wait import wait_until

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.close()


def add_decision(store: Store, number: int, **changes: Any) -> None:
    plain: dict[str, Any] = {
        "model": "reviews",
        "from_version": 0,
        "to_version": 1,
        "verdict": Verdict.KEPT,
        "reason": "So.",
        "trigger": "t",
        "actor": "a",
    }
    row = Decision(f"d{number}", NOW + timedelta(hours=number), **(plain | changes))
    with store.transaction() as transaction:
        append(transaction, row)


def test_pages_of_decisions_follow_each_other_without_gap_or_overlap(store: Store) -> None:
    for number in range(7):
        add_decision(store, number)
    seen: list[str] = []
    before = None
    while found := views.decisions(store, views.Filter(before=before), 3):
        seen += [row["id"] for row in found]
        before = found[-1]["seq"]
        if len(seen) == 3:
            add_decision(store, 99)  # a row that is added now does not move the pages
    assert seen == [f"d{number}" for number in range(6, -1, -1)]


def test_decisions_are_filtered_by_model_verdict_and_time(store: Store) -> None:
    add_decision(store, 0)
    add_decision(store, 1, verdict=Verdict.PROMOTED)
    add_decision(store, 2, model="notes")

    def ids(**wanted: Any) -> list[str]:
        return [row["id"] for row in views.decisions(store, views.Filter(**wanted), 9)]

    assert ids(verdict="promoted") == ["d1"] and ids(model="notes") == ["d2"] and ids(verdict="nonsense") == []
    assert ids(since=NOW + timedelta(hours=1)) == ["d2", "d1"] and ids(until=NOW + timedelta(hours=1)) == ["d0"]


def said(number: int, **changes: Any) -> Feedback:
    plain: dict[str, Any] = {"interaction_id": "i1", "conversation_id": None, "type": "comment", "value": "x"}
    return Feedback(f"f{number:02}", NOW, **(plain | changes))


def test_pages_of_feedback_of_one_moment_follow_each_other(store: Store) -> None:
    add(store, [said(number) for number in range(7)])
    seen: list[str] = []
    wanted = feedback_data.Search()
    while True:
        found = feedback_data.search(store, wanted, 3, lambda: NOW, BlindLabels(store, None))
        seen += [row["id"] for row in found["feedback"]]
        if not found["next"]:
            break
        wanted = feedback_data.Search(**found["next"])
    assert seen == [f"f{number:02}" for number in range(6, -1, -1)]


@pytest.mark.parametrize(
    ("words", "found"),
    [("50%", ["f00"]), ("a_b", ["f01"]), ("back\\", ["f02"]), ("ADA", ["f03"]), ("%", ["f00"]), ("nothing", [])],
)
def test_words_are_searched_as_they_are(store: Store, words: str, found: list[str]) -> None:
    add(
        store,
        [
            said(0, comment="only 50% right"),
            said(1, comment="a_b"),
            said(2, value="back\\slash"),
            said(3, user="ada"),
            said(4, comment="axb 500"),
        ],
    )
    listed = feedback_data.search(store, feedback_data.Search(words=words), 9, lambda: NOW, BlindLabels(store, None))[
        "feedback"
    ]
    assert [row["id"] for row in listed] == found


def test_an_answer_whose_prompt_was_not_kept_is_shown_without_it(store: Store) -> None:
    asked = Interaction(
        "i1",
        NOW,
        "m",
        0,
        "champion",
        0.0,
        None,
        None,
        None,
        "chat",
        None,
        None,
        None,
        200,
        1.0,
        None,
        None,
        None,
        False,
    )
    add(store, [asked, said(1)])
    found = feedback_data.interaction(store, "i1")
    assert found["interaction"]["prompt"] is None and [vote["id"] for vote in found["votes"]] == ["f01"]


def test_new_rows_are_checked_at_once_and_old_ones_with_the_next_whole_walk(store: Store) -> None:
    watch = LedgerWatch(store, lambda: NOW)
    for number in range(3):
        add_decision(store, number)
    assert watch.report() | {"head": ""} == {
        "ok": True,
        "rows": 3,
        "head": "",
        "checked": None,
        "reason": "3 rows, each follows from the one before.",
    }
    add_decision(store, 3)
    with store.transaction() as transaction:
        transaction._connection.execute("UPDATE decisions SET reason = 'else' WHERE seq = 4")
    assert watch.report()["reason"] == "Row 4 (d3): its column reason differs from its text."
    with store.transaction() as transaction:
        transaction._connection.execute("UPDATE decisions SET reason = 'So.' WHERE seq = 4")
        transaction._connection.execute("UPDATE decisions SET verdict = 'promoted' WHERE seq = 1")
    watch.walk()
    assert not watch.report()["ok"] and "Row 1 (d0)" in watch.report()["reason"] and watch.report()["checked"] == NOW


def test_a_tail_that_was_cut_off_is_reported_and_stays_reported(store: Store) -> None:
    watch = LedgerWatch(store, lambda: NOW)
    for number in range(3):
        add_decision(store, number)
    watch.walk()
    add_decision(store, 3)
    assert watch.report()["ok"]
    with store.transaction() as transaction:
        transaction._connection.execute("DELETE FROM decisions WHERE seq >= 3")
    for _ in range(3):
        watch.walk()
        assert not watch.report()["ok"] and "cut off" in watch.report()["reason"]


def test_a_chain_is_not_whole_before_its_first_walk_nor_after_one_that_raised(store: Store) -> None:
    raises = [True]

    def verify(found: Store, _: str | None, after: ChainReport) -> ChainReport:
        if raises[0]:
            raise ValueError("a row that cannot be read")
        return verify_store(found, after=after)

    watch = LedgerWatch(store, lambda: NOW, verify)
    assert (watch.last()["checked"], watch.last()["reason"]) == (None, "Not checked yet.")
    for _ in range(2):
        raises[0] = True
        with pytest.raises(ValueError, match="cannot be read"):
            watch.walk()
        assert not watch.last()["ok"] and watch.last()["reason"].startswith("Its check failed (ValueError).")
        raises[0] = False
        watch.walk()
        assert watch.last()["ok"] and watch.last()["reason"].startswith("0 rows")


def test_callers_that_wait_for_a_walk_share_the_next_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, walks, ticks = threading.Event(), threading.Event(), list[int](), list[float]()

    def monotonic() -> float:
        ticks.append(len(ticks) + 1.0)
        return ticks[-1]

    def verify(found: Store, _: str | None, after: ChainReport) -> ChainReport:
        walks.append(1)
        begun.set()
        assert go_on.wait(60)
        return verify_store(found, after=after)

    monkeypatch.setattr("ops.ledger_verifier.time", SimpleNamespace(monotonic=monotonic))
    watch = LedgerWatch(store, lambda: NOW, verify)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(watch.walk)
        assert begun.wait(60)
        others = [pool.submit(watch.walk) for _ in range(5)]
        wait_until(lambda: len(ticks) == 2 + 5)  # all have called
        go_on.set()
        for each in (first, *others):
            each.result(60)
    assert len(walks) == 2 and watch.last()["checked"] == NOW


def test_the_walk_goes_on_after_one_that_failed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, walks = LedgerWatch(store, lambda: NOW, whole_seconds=0.0), list[int]()

    def walk() -> None:
        walks.append(1)
        raise OSError("the disk is full")

    monkeypatch.setattr(watch, "walk", walk)

    async def some() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(watch.keep_walking(), 0.2)

    asyncio.run(some())
    assert len(walks) > 1


def difference(value: float) -> dict[str, Any]:
    return {"champion": {"value": value, "lower": value - 0.02, "upper": value + 0.02, "level": 0.05}}


def test_a_forest_turns_every_kpi_so_that_right_is_better_and_draws_the_gates_requirement() -> None:
    gate = [
        {"name": "macro_f1 against champion", "outcome": "pass", "value": 0.05, "threshold": 0.01},
        {"name": "guardrail brier", "outcome": "pass", "value": -0.03, "threshold": 0.04},
    ]
    found = {"macro_f1": difference(0.05), "brier": difference(-0.03)}
    plot = str(forest({"differences": found, "gate": gate}))
    assert "macro F1 +0.050 (+0.030 to +0.070); Brier score +0.030 (+0.010 to +0.050)" in plot
    assert plot.count(f'class="s-{history.ACCENT}"') == 2
    assert "No difference was measured" in forest({})


def test_a_stack_of_days_names_the_largest_series_and_gathers_the_rest() -> None:
    rows = [{"day": date(2026, 3, 1 + n % 2), "version": n, "requests": 100 - n} for n in range(9)]
    drawn = str(history.stacked_days(rows, "version", "requests", "requests", "Requests by version"))
    assert "v0 100" in drawn and "others" in drawn and "03-01" in drawn and ">v8<" not in drawn
    assert "Nothing came in" in history.stacked_days([], "version", "requests", "requests", "t")


def test_the_loss_of_each_objective_is_a_line_of_its_own() -> None:
    def losses(objective: str | None, first: int) -> list[dict[str, Any]]:
        return [{"step": first + n, "loss": 0.9 - n / 10, "objective": objective} for n in range(3)]

    both = str(history.loss_curve(losses("SFT", 1) + losses("DPO", 4)))
    assert "SFT from 0.900 to 0.700; DPO from 0.900 to 0.700 in 6 steps." in both
    assert both.count("<polyline") == 2 and ">DPO<" in both and "loss of each objective" in both
    one = str(history.loss_curve(losses(None, 1)))
    assert "From 0.900 to 0.700 in 3 steps." in one and one.count("<polyline") == 1 and "cross-entropy" in one


@pytest.mark.parametrize("draw", [history.kpi_over_versions, history.learning_curve, history.loss_curve])
def test_a_chart_of_nothing_says_so(draw: Any) -> None:
    assert "No " in draw([])


def test_charts_survive_measures_without_bounds_or_value() -> None:
    def entry(version: int, value: float | None, low: float | None) -> dict[str, Any]:
        measure = {"value": value, "low": low, "high": low}
        return {"version": version, "verdict": "promoted", "kpi": "macro_f1", "candidate": measure, "train_rows": 9}

    judged = [entry(1, None, None), entry(2, 0.5, None), entry(3, 0.6, 0.55)]
    assert "v2 0.500; v3 0.600" in history.kpi_over_versions(judged)
    assert "9 rows 0.500; 9 rows 0.600" in history.learning_curve(judged)


def test_a_run_says_what_each_phase_took() -> None:
    def step(phase: str, second: int) -> dict[str, Any]:
        return {"phase": phase, "time": NOW + timedelta(seconds=second), "done": 1, "metrics": json.loads("{}")}

    run = {
        "started": NOW,
        "finished": NOW + timedelta(seconds=60),
        "steps": [step("training", 10), step("training", 30), step("evaluating", 45)],
    }
    assert page_data._seconds(run) == {"snapshot": 10, "training": 35, "evaluating": 15}
