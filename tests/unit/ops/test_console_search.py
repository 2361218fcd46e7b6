"""Facts about how a search is shown: the picture of its trials, the run's page, and the command line."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from core.db import runs, trials
from core.db.store import Store
from ops import views
from ops.cli.runs import search_lines
from ops.console.page_data import _seconds
from ops.console.svg.primitives import ACCENT, BAD
from ops.console.svg.search import parallel_trials
from tests.support.console import Console

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
VALUES = {"learning_rate": 5e-4, "epochs": 2.0, "rank": 16}
SVG = "{http://www.w3.org/2000/svg}"


def trial(number: int, state: str = "complete", score: float | None = 0.8, **more: Any) -> dict[str, Any]:
    scores = [[1, 0.5], [4, score]] if score is not None else more.pop("scores", [])
    values = VALUES | {"learning_rate": 1e-4 * (number + 1)}
    given = {"number": number, "values": values, "state": state, "scores": scores, "score": score, "figures": {}}
    return given | {"seconds": 95.0, "reason": ""} | more


TRIALS = [
    trial(0, score=0.7),
    trial(1, score=0.8),
    trial(2, "pruned", None, scores=[[1, 0.4]], reason="Its dev score was 0.400."),
    trial(3, "failed", None, reason="The loss of step 3 is nan."),
    trial(4, "running", None),
]


def lines_of(picture: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture).iter(f"{SVG}polyline"))


def test_each_trial_is_a_line_and_the_best_has_the_colour() -> None:
    drawn = lines_of(str(parallel_trials(TRIALS)))
    assert len(drawn) == 5
    strokes = [one.get("class") for one in drawn]
    assert strokes.count(f"s-{ACCENT}") == 1 and strokes.index(f"s-{ACCENT}") == 4 and strokes.count(f"s-{BAD}") == 1
    assert [one.get("stroke-dasharray") for one in drawn].count("4 3") == 2
    # A trial without a score ends before the axis of scores.
    assert sorted(len(one.get("points", "").split()) for one in drawn) == [3, 3, 4, 4, 4]
    assert "trial 0 complete 0.700; trial 1 complete 0.800; trial 2 pruned 0.400" in parallel_trials(TRIALS)


def test_the_best_trial_is_at_the_top_of_the_axis_of_scores() -> None:
    drawn = {one.get("class"): one.get("points", "").split()[-1] for one in lines_of(str(parallel_trials(TRIALS[:2])))}
    heights = {stroke: float(point.split(",")[1]) for stroke, point in drawn.items()}
    assert heights.pop(f"s-{ACCENT}") < next(iter(heights.values()))


def test_trials_without_a_score_say_so() -> None:
    assert "No trial has a score yet." in parallel_trials(TRIALS[3:])
    assert "No trial has a score yet." in parallel_trials([])


def put(store: Store, run: str, shown: dict[str, Any]) -> None:
    trials.put(store, run_id=run, **shown)


def add_run(store: Store, run: str, detail: str) -> None:
    runs.add(store, id=run, model="reviews", trigger="t", state="training", started=NOW, feedback_until=NOW)
    runs.set_detail(store, id=run, detail=detail)


def test_the_page_of_a_run_draws_and_lists_its_trials() -> None:
    console = Console()
    add_run(console.store, "run-1", '{"search": {"reason": "No search yet.", "conclusion": "Trial 1 is the best."}}')
    add_run(console.store, "run-2", "{}")
    for one in TRIALS:
        put(console.store, "run-1", one)
    html = console.page("/runs/run-1")
    assert "Trials of the search" in html and "No search yet." in html and "Trial 1 is the best." in html
    part = html[html.index('id="trials"') :]
    assert part.count("<polyline") == 5 and "0.0005" in part and "0.800" in part
    assert 'title="The loss of step 3 is nan."' in part
    assert "Trials of the search" not in console.page("/runs/run-2")
    found = console.client.get("/runs/run-1.json").json()["run"]["trials"]
    assert [one["number"] for one in found] == [0, 1, 2, 3, 4] and found[1]["values"] == TRIALS[1]["values"]


def test_the_page_of_a_run_draws_its_learning_curve_and_says_what_it_means() -> None:
    console = Console()
    first = {"share": 0.5, "state": "complete", "rows": 40, "score": 0.6, "low": 0.51, "high": 0.7, "seconds": 60.0}
    last = {"share": 1.0, "state": "failed", "rows": None, "score": None, "low": None, "high": None, "seconds": 5.0}
    points = [first | {"reason": ""}, last | {"reason": "The disk is full."}]
    curve = {"reason": "None has been made.", "points": points, "conclusion": "It does not say."}
    add_run(console.store, "run-1", json.dumps({"learning_curve": curve}))
    add_run(console.store, "run-2", json.dumps({"learning_curve": {"reason": "Too few dev rows."}}))
    html = console.page("/runs/run-1")
    assert "None has been made." in html and "It does not say." in html
    part = html[html.index('id="curve"') :]
    assert "1/2 of the rows" in part and "0.510 to 0.700" in part and 'title="The disk is full."' in part
    assert "40 rows 0.600." in part and part.count("<circle") == 1
    other = console.page("/runs/run-2")
    assert "Too few dev rows." in other and 'id="curve"' not in other


def test_the_page_of_a_run_has_what_its_adapter_forgot() -> None:
    console = Console()
    add_run(console.store, "run-1", '{"forgetting": {"value": 0.3, "low": 0.2, "high": 0.45, "prompts": 36}}')
    add_run(console.store, "run-2", "{}")
    html = console.page("/runs/run-1")
    assert "0.300<small>0.200–0.450</small> nats per token" in html and "on 36 general prompts" in html
    assert "Forgetting" not in console.page("/runs/run-2")


def test_a_view_of_a_run_has_every_trial_as_it_was_kept() -> None:
    store = Store(":memory:")
    add_run(store, "run-1", "{}")
    put(store, "run-1", trial(0, "running", None))
    put(store, "run-1", TRIALS[1])
    put(store, "run-1", TRIALS[0])
    assert views.run(store, "run-1")["trials"] == TRIALS[:2]
    store.close()


@pytest.mark.parametrize("end", ["failed", "skipped", "cancelled"])
def test_a_trial_in_progress_when_its_run_ended_is_stopped(end: str) -> None:
    store = Store(":memory:")
    add_run(store, "run-1", "{}")
    put(store, "run-1", TRIALS[0])
    put(store, "run-1", TRIALS[4] | {"number": 1})
    assert [one["state"] for one in views.run(store, "run-1")["trials"]] == ["complete", "running"]
    runs.set_state(store, state=end, reason="", time=NOW, id="run-1")
    assert [one["state"] for one in views.run(store, "run-1")["trials"]] == ["complete", "stopped"]
    store.close()


def test_a_view_of_a_run_has_every_step_of_the_training_and_two_of_each_trial() -> None:
    store = Store(":memory:")
    add_run(store, "run-1", "{}")
    second = iter(range(1, 1000))
    for phase, steps in (("trial 0", 50), ("trial 1", 1), ("trial 10", 30), ("training", 40)):
        for step in range(1, steps + 1):
            time = NOW + timedelta(seconds=next(second))
            runs.add_metric(store, run_id="run-1", time=time, phase=phase, done=step, total=steps, metrics="{}")
    found = views.run(store, "run-1")
    shown = [(step["phase"], step["done"]) for step in found["steps"]]
    trials_shown = [("trial 0", 1), ("trial 0", 50), ("trial 1", 1), ("trial 10", 1), ("trial 10", 30)]
    assert shown == trials_shown + [("training", step) for step in range(1, 41)]
    assert _seconds(found) == {"snapshot": 1.0, "search": 81.0, "training": 39.0}
    store.close()


def test_the_command_line_has_a_line_per_trial() -> None:
    search = {"reason": "No search yet.", "conclusion": "Trial 1 is the best."}
    assert search_lines(search, TRIALS[1:3]) == [
        "No search yet.",
        "trial 1 complete: dev score 0.800, 2 min, learning rate 0.0002, epochs 2, rank 16",
        "trial 2 pruned: 2 min, learning rate 0.0003, epochs 2, rank 16",
        "Trial 1 is the best.",
    ]
    assert search_lines({}, TRIALS[3:4]) == [
        "trial 3 failed: 2 min, learning rate 0.0004, epochs 2, rank 16. The loss of step 3 is nan."
    ]
    assert search_lines({"reason": "No search: too few rows."}, []) == ["No search: too few rows."]
    assert search_lines({}, []) == []


def test_the_trials_are_one_phase_of_what_took_time() -> None:
    steps = [
        {"phase": phase, "time": NOW.replace(second=second), "done": 1, "metrics": {}}
        for phase, second in (("trial 0", 5), ("trial 1", 20), ("training", 40))
    ]
    found = _seconds({"started": NOW, "finished": NOW.replace(second=50), "steps": steps})
    assert found == {"snapshot": 5.0, "search": 35.0, "training": 10.0}
