"""Facts about what the pages tell of decisions: evidence of any task, lineage, regressions, holdbacks, ways to undo."""

import re
from datetime import timedelta
from typing import Any

import pytest

from core.db import evaluations, live_tests, routes, runs
from core.records import Feedback, Interaction
from feedback.ingest import add
from ops import views
from ops.console import page_data
from ops.console.svg import evidence, gate
from tests.support.console import EVIL, LINEAGE, NOW, SWITCHED, Console, full_evidence, look_body

TEXT_KPIS = {"exact_match": 0.30, "token_f1": 0.50, "chrf": 0.55}


@pytest.fixture
def console() -> Console:
    return Console()


def suite(value: float, difference: float | None = 0.02) -> dict[str, Any]:
    measure = {"value": value, "low": value - 0.05, "high": value + 0.05}
    apart = difference and {"value": difference, "lower": difference - 0.01, "upper": difference + 0.01, "level": 0.05}
    return {
        "n": 200,
        "arms": dict.fromkeys(("candidate", "champion"), measure),
        "difference": apart,
        "relative": None,
        "resolvable": 0.04,
        "missing": "",
    }


def generate_evidence() -> dict[str, Any]:
    """As a model that writes has it: the candidate is better by 0.1 in each KPI, and asks for fewer tokens."""

    def arm(more: float) -> dict[str, Any]:
        spread = {
            kpi: {"value": at + more, "low": at + more - 0.03, "high": at + more + 0.03}
            for kpi, at in TEXT_KPIS.items()
        }
        return spread | {"answer_tokens": {"value": 31.0 + more, "low": None, "high": None}}

    return {
        "n": 210,
        "users": 77,
        "holdout": "h1",
        "holdout_use": 2,
        "base_prompt": "",
        "tfidf_logreg": {},
        "arms": {"base": arm(-0.1), "rag": arm(0.0), "champion": arm(0.0), "candidate": arm(0.1)},
        "differences": {
            kpi: {"champion": {"value": 0.1, "lower": 0.06, "upper": 0.14, "level": 0.01}} for kpi in TEXT_KPIS
        },
        "confusion": {},
        "primary": "token_f1",
        "labels": [],
        "level_spent": 0.0076,
        "suites": {"hallucination": suite(0.1, -0.02), "mean_length": suite(40.0, 9.0)},
        "kpis": [
            {
                "kpi": "token_f1",
                "arms": {},
                "difference": 0.1,
                "interval": [0.06, 0.14],
                "level": 0.0076,
                "n": 210,
                "users": 77,
                "test": "paired bootstrap over users, one-sided",
                "checks": [{"name": "token_f1 against champion", "threshold": 0.0, "verdict": "pass"}],
            }
        ],
        "gate": [
            {
                "name": "token_f1 against champion",
                "outcome": "pass",
                "value": 0.1,
                "bound": 0.06,
                "threshold": 0.0,
                "reason": "token_f1 is 0.100 higher than the champion's: at least +0.060, "
                "more than +0.000 is required.",
            }
        ],
        "worth": {
            "retrieval_is_enough": False,
            "reason": "Fine-tuning is worth it: token_f1 +0.100 over retrieval.",
            "saved_ms": 12.5,
            "saved_tokens": 180.0,
            "requests": 4800,
        },
    }


def test_answers_in_words_are_drawn_with_more_to_the_right(console: Console) -> None:
    plot = str(gate.forest(generate_evidence()))
    assert "token F1 +0.100 (+0.060 to +0.140)" in plot and "chrF +0.100" in plot
    assert "token F1, higher is better" in str(evidence.interval_bars(generate_evidence(), "token_f1"))
    assert "higher is better" not in str(
        evidence.interval_bars({"arms": {"base": {"own_kpi": {"value": 1.0, "low": None, "high": None}}}}, "own_kpi")
    )


def test_suites_stand_in_the_forest_by_their_own_direction_and_those_of_another_unit_do_not() -> None:
    plot = str(gate.forest(generate_evidence()))
    assert "hallucination +0.020 (+0.010 to +0.030)" in plot
    assert "mean length" not in plot


def test_the_arms_have_the_columns_that_were_measured(console: Console) -> None:
    console.add_decision("promoted", evidence=generate_evidence(), run_id="run-1")
    html = console.whole("/promotions/dec-1")
    header = html[html.index("KPIs by arm, with") :]
    assert header.index("token F1") < header.index("exact match") < header.index("answer tokens")
    assert "macro F1" not in html and "calibration error" not in html
    assert "210 references of 77 users" in html


def test_what_a_decision_recorded_is_shown_and_nothing_as_code(console: Console) -> None:
    live = look_body(200, 0.05, 0.04) | {
        "latency": {"control": {"p50_ms": 80.4, "p95_ms": 131.9}, "canary": {"p50_ms": 71.2, "p95_ms": 118.6}},
        "rollback_target": 6,
        "gate": generate_evidence()["gate"],
        "quarantine": {"id": "quar-1", "votes": 12},
        "forecast": {"users": 20.0, "binds": "users", "sentence": "It is likely to need 3 days."},
        "holdback": {"share": 0.1, "hours": 20.0, "harm_ratio": 2.0},
        "anchor": {"version": 6, "sentence": "The anchor is still m@6: m@7 is not proven better."},
        "anchor_arm": look_body(77_777, 0.05, 0.04)["control"],
        "waived": ["canary"],
        "odd": {"a": {"b": [1, 2]}},
    }
    lineage = LINEAGE | {
        "config_sha256": "ef" * 32,
        "source": {"folder": "adapters", "kept": True},
        "training": {"targets": ["q", "v"]},
    }
    console.add_decision(
        "promoted", evidence=generate_evidence(), lineage=lineage, live=live, gate_code="1.0 abcdef012345"
    )
    html = console.whole("/promotions/dec-1")
    for words in (
        "1.0 abcdef012345",
        "spent 0.0076 of the error",
        "paired bootstrap over users",
        "71.2, 119",
        "80.4, 132",
        "v6 keeps 10% of users for 20 h",
        "It is likely to need 3 days.",
        "<dt>Anchor</dt><dd>The anchor is still m@6: m@7 is not proven better.</dd>",
        '<th scope="row">anchor</th>',
        "ef" * 32,
        "Fine-tuning pays",
        "paid after 4,800 requests",
        "180.0 tokens a prompt",
        "q, v",
        "a b 1, 2",
        "folder adapters, kept yes",
        "12 votes wait for review",
        'href="/quarantine/quar-1"',
    ):
        assert words in html, words
    text = re.sub(r"<[^>]+>", " ", html)
    assert not re.search(r"\{|\[&#39;|\bTrue\b|\bNone\b", text)


def test_a_rollback_that_quarantined_says_so_without_live_numbers_too(console: Console) -> None:
    console.add_decision("rolled_back", trigger="person", live={"quarantine": {"id": "quar-1", "votes": 3}})
    console.add_decision("released", trigger="review", live={"quarantine": "quar-1"})
    assert "3 votes wait for review" in console.whole("/promotions/dec-1")
    assert 'href="/quarantine/quar-1"' in console.whole("/promotions/dec-2")


@pytest.mark.parametrize("verdict", ["confirmed", "discarded", "released", "switched", "skipped"])
def test_a_row_that_only_names_a_version_does_not_hide_what_it_was_made_of(console: Console, verdict: str) -> None:
    console.add_decision("promoted", lineage=LINEAGE)
    console.add_decision("kept", lineage=LINEAGE | {"snapshot": "99" * 32}, to_version=8)
    console.add_decision("rolled_back", trigger="person", from_version=8, to_version=7)
    console.add_decision(verdict, from_version=7)
    found = page_data._lineage(console.store, "reviews", 7)
    assert found is not None and (found["decision"], found["snapshot"]) == ("dec-1", LINEAGE["snapshot"])


def test_the_model_page_says_on_which_data_after_a_holdback(console: Console) -> None:
    routes.add(
        console.store,
        model="reviews",
        rev=2,
        time=NOW,
        champion=7,
        canary=None,
        share=0.0,
        previous=6,
        salt="s",
        decision_id="dec-1",
        holdback=0.0,
    )
    console.add_decision("promoted", lineage=LINEAGE)
    console.add_decision("confirmed", from_version=7, to_version=7, trigger="holdback")
    assert LINEAGE["snapshot"] in console.page("/models/reviews")


def test_a_rollback_after_a_holdback_does_not_take_the_version_out_of_the_curve(console: Console) -> None:
    console.add_decision("promoted", run_id="run-1", evidence=full_evidence(), lineage=LINEAGE)
    console.add_decision("rolled_back", run_id="run-1", trigger="holdback", from_version=7, to_version=6)
    console.add_decision("kept", run_id="run-2", evidence=full_evidence(), lineage=LINEAGE, to_version=8)
    found = [
        (entry["version"], entry["verdict"]) for entry in page_data.judged(console.store, ["reviews"], 40)["reviews"]
    ]
    assert found == [(7, "promoted"), (8, "kept")]


def test_the_holdback_is_on_the_models_page_with_its_end(console: Console) -> None:
    routes.add(
        console.store,
        model="reviews",
        rev=2,
        time=NOW,
        champion=7,
        canary=None,
        share=0.0,
        previous=6,
        salt="s",
        decision_id=None,
        holdback=0.1,
    )
    live_tests.add_holdback(
        console.store,
        run_id="run-1",
        model="reviews",
        promoted=7,
        held=6,
        share=0.1,
        score_sd=0.5,
        started=NOW,
        until=NOW + timedelta(hours=20),
        plan=None,
    )
    html = console.page("/models/reviews")
    serves = html[html.index('id="serves"') : html.index("<dt>Since")]
    assert "v6" in serves and "10% of users" in serves and "2026-03-01 23:00:00 UTC" in serves
    assert "v6, 10%" in html[html.index("What served when") :]


def test_the_anchor_is_on_the_models_page_with_the_users_that_a_canary_gives_it(console: Console) -> None:
    arms = {"champion": 7, "canary": 8, "share": 0.2, "previous": 6, "holdback": 0.2, "anchor": 5}
    routes.add(console.store, model="reviews", rev=2, time=NOW, salt="s", decision_id=None, **arms)
    html = console.page("/models/reviews")
    serves = html[html.index('id="serves"') : html.index("<dt>Since")]
    assert "canaries also compare their candidate with <strong>v5</strong>" in serves
    served = html[html.index("What served when") :]
    assert "v8, 20%" in served and "v5, 20%" in served and "v6, 20%" not in served


@pytest.mark.parametrize("verdict", ["confirmed", "discarded", "released"])
def test_a_row_that_changed_nobody_advises_no_promotion(console: Console, verdict: str) -> None:
    console.add_decision(verdict, from_version=7, to_version=7)
    assert "loraloop models promote" not in console.whole("/promotions/dec-1")


def regressed(console: Console, place: int, interaction: str, **changes: Any) -> None:
    plain = {
        "kpi": "accuracy",
        "wanted": "positive",
        "champion": "positive",
        "candidate": "negative",
        "loss": 0.8 / place,
    }
    row = plain | changes | {"run_id": "run-1", "place": place, "interaction_id": interaction}
    with console.store.transaction() as transaction:
        evaluations.add_regression(transaction, [row])


def asked(identity: str, content: str) -> Interaction:
    return Interaction(
        identity,
        NOW,
        "reviews",
        6,
        "champion",
        0.0,
        None,
        "u",
        None,
        "chat",
        {"messages": [{"role": "user", "content": content}]},
        "x",
        "stop",
        200,
        1.0,
        None,
        1,
        1,
        False,
    )


def test_the_worst_regressions_are_read_with_their_questions_and_go_with_their_interactions(console: Console) -> None:
    add(console.store, [asked("i1", f"first question {EVIL}"), asked("i2", "long " * 200)])
    regressed(console, 1, "i1")
    regressed(console, 2, "i2", wanted=None, champion=EVIL, candidate="words " * 100)
    regressed(console, 3, "gone")
    add(console.store, [Feedback("f1", NOW, "i2", None, "correction", "as it should be")])
    console.add_decision("kept", run_id="run-1", evidence=full_evidence(), from_version=6)
    console.add_decision("failed", run_id="run-1")
    html = console.whole("/promotions/dec-1")
    part = html[html.index("Worst regressions") : html.index("Hashes")]
    assert "first question" in part and "0.800" in part and "as it should be" in part
    assert EVIL not in html and part.count("<details") == 2 and "gone" not in part.replace("goes", "")
    found = console.client.get("/promotions/dec-1.json").json()["regressions"]
    assert [row["interaction_id"] for row in found] == ["i1", "i2"]
    assert "Worst regressions" not in console.whole("/promotions/dec-2")


def test_only_the_last_step_of_each_run_is_queried(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in range(3):
        runs.add(
            console.store,
            id=f"run-{run}",
            model="reviews",
            trigger="t",
            state="training",
            started=NOW + timedelta(hours=run),
            feedback_until=NOW,
        )
        for step in range(run * 4):
            runs.add_metric(
                console.store,
                run_id=f"run-{run}",
                time=NOW + timedelta(seconds=step),
                done=step,
                phase="training",
                total=9,
                metrics="{}",
            )
    asked_for: list[str] = []
    rows = console.store.rows
    monkeypatch.setattr(console.store, "rows", lambda name, **about: asked_for.append(name) or rows(name, **about))
    progress = {run["id"]: run["progress"] for run in views.runs(console.store, None, 9)}
    assert progress["run-0"] is None and progress["run-2"]["text"] == "training 7 of 9"
    assert asked_for == ["runs.newest", "runs.progress"]


def test_a_switch_shows_its_own_facts_once(console: Console) -> None:
    console.add_decision("switched", live=SWITCHED)
    html = console.whole("/promotions/dec-1")
    assert html.count("41.5 ms") == 1 and "Switch ms" not in html
