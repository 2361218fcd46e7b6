"""Facts about the preference benchmark's data: ids as the files have them, and baselines on the same votes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.preference_rows import (
    WORDS,
    Choice,
    arguments_as_answers,
    corrections,
    edits_as_answers,
    longer_wins,
    one_person,
    preferences,
    read_arguments,
    read_choices,
    read_edits,
    thumbs,
)
from bench.preferences import experiments, judged_by_corrections, judged_by_preferences
from core.db.store import Store
from core.settings import build
from eval.kpis.text import chrf
from tests.support.curation import user_in
from tests.support.pairs import fill, prefer, settings, snap, vote


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {"arg1": "short", "2": "a longer text", "arg3": "word " * 200}
    rows = [
        {"id": id, "debate": "Tea?", "description": "", "stance": "Yes", "text": text, "author": "a"}
        for id, text in texts.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "convarg_arguments.parquet")
    said = [
        ("arg1", "2", "w1", "a2"),
        ("arg1", "2", "w2", "a1"),
        ("arg1", "2", "w3", "a2"),
        ("2", "arg3", "w1", "equal"),
    ]
    names = ("arg1", "arg2", "worker", "value")
    votes = [dict(zip(names, one, strict=True)) for one in [*said, ("2", "unknown", "w1", "a1")]]
    pq.write_table(pa.Table.from_pylist(votes), tmp_path / "convarg_votes.parquet")
    edits = [("a b", "a c"), ("a b", "a c"), ("same", "same"), ("x", "y")]
    pq.write_table(
        pa.table({"machine": [m for m, _ in edits], "edited": [e for _, e in edits]}), tmp_path / "post_edits.parquet"
    )
    return tmp_path


def test_decided_votes_are_read_with_the_ids_of_the_file(folder: Path) -> None:
    choices = read_choices(folder, read_arguments(folder))
    assert choices == [Choice("w1", "2", "arg1"), Choice("w2", "arg1", "2"), Choice("w3", "2", "arg1")]


def test_baselines_are_of_the_votes_themselves(folder: Path) -> None:
    arguments = read_arguments(folder)
    choices = read_choices(folder, arguments)
    assert longer_wins(choices, arguments) == pytest.approx(2 / 3)
    # Without the vote itself, w1 and w3 meet a tie, which decides nothing, and w2 two who disagree.
    assert one_person(choices, choices) == 0.0
    assert one_person(choices[:1], [*choices, Choice("w4", "2", "arg1")]) == 1.0


def test_votes_are_sent_about_the_answers_of_their_model(folder: Path) -> None:
    arguments = read_arguments(folder)
    choices = read_choices(folder, arguments)
    answers = {one.id: one for one in arguments_as_answers(arguments, "m")}
    assert len(str(answers["m-arg3"].answer).split()) == WORDS
    sent = next(preferences(choices, "m"))
    assert sent["value"] == {"chosen": "m-2", "rejected": "m-arg1"} and set(sent["value"].values()) <= set(answers)
    assert [(one["interaction_id"], one["value"]) for one in thumbs(choices[:1], "m")] == [
        ("m-2", True),
        ("m-arg1", False),
    ]


def test_a_machine_translation_is_corrected_once(folder: Path) -> None:
    edits = read_edits(folder, 10)
    assert [(edit.machine, edit.edited) for edit in edits] == [("a b", "a c"), ("x", "y")]
    answers = list(edits_as_answers(edits, "m"))
    sent = list(corrections(edits, "m", editors=2))
    assert [one["interaction_id"] for one in sent] == [one.id for one in answers]
    assert {one["user"] for one in sent} == {"editor-0", "editor-1"}


def test_each_experiment_has_settings_that_loraloop_accepts(folder: Path) -> None:
    made = experiments(folder, ["dpo", "kto", "corrections"], steps=100, votes=None)
    models = build({"models": {one.model: one.settings() for one in made.values()}}).models
    assert [model.retrain.objective for model in models.values()] == ["dpo", "kto", "sft"]
    kinds = {vote["type"] for vote in made["kto"].votes}
    assert kinds <= {"thumbs", "preference"} and {vote["type"] for vote in made["dpo"].votes} == {"preference"}


def measured(**values: float) -> dict[str, dict[str, float]]:
    return {name: {"value": value, "low": value - 0.1, "high": value + 0.1} for name, value in values.items()}


def test_corrections_are_compared_with_the_text_that_was_corrected(folder: Path, tmp_path: Path) -> None:
    store = Store(":memory:")
    editor = user_in("h1")
    edits = read_edits(folder, 10)
    fill(store, *edits_as_answers(edits, "m"))
    for n, sent in enumerate(corrections(edits, "m", editors=1)):
        fill(store, vote(n, sent["interaction_id"], "correction", sent["value"], editor))
    snapshot = snap(store, tmp_path / "snapshots")
    store.close()
    arms = {"base": measured(chrf=0.2, exact_match=0.0), "candidate": measured(chrf=0.6, exact_match=0.5)}
    decision = {
        "evidence": {"holdout": "h1", "arms": arms, "n": 2},
        "lineage": {"snapshot": snapshot.hash, "training": {"rows": 7}, "cost": {}},
        "verdict": "promoted",
        "reason": "because",
    }
    found = judged_by_corrections(tmp_path / "snapshots", decision)
    # "a b" against "a c", and "x" against "y".
    assert found["chrf_raw"] == pytest.approx(chrf("a b", "a c") / 2, abs=1e-4) and found["chrf_raw"] > 0
    assert (found["chrf_base"], found["chrf_candidate"], found["interval"]) == (0.2, 0.6, [0.5, 0.7])
    assert (found["texts"], found["learnt_from"], found["verdict"]) == (2, 7, "promoted")


def test_votes_that_judged_are_compared_with_lengths_and_with_other_people(folder: Path, tmp_path: Path) -> None:
    store = Store(":memory:")
    arguments = read_arguments(folder)
    everyone = read_choices(folder, arguments)
    fill(store, *arguments_as_answers(arguments, "m"))
    for n, sent in enumerate(preferences(everyone[:2], "m")):
        fill(store, prefer(n, sent["value"]["chosen"], sent["value"]["rejected"], user_in("h1", n)))
    snapshot = snap(store, tmp_path / "snapshots", settings(trust={"weights": False}))
    store.close()
    decision = {
        "model": "m",
        "evidence": {
            "holdout": "h1.2",
            "suites": {
                "preference_margin": {"n": 2, "users": 2, "arms": measured(candidate=0.75)},
                "preference_accuracy": {"arms": measured(base=0.5, candidate=0.6)},
                "kl_to_base": {"arms": measured(candidate=0.1)},
            },
        },
        "lineage": {"snapshot": snapshot.hash, "training": {"rows": 8, "objective": "dpo"}, "cost": {}},
        "verdict": "kept",
        "reason": "because",
    }
    found = judged_by_preferences(tmp_path / "snapshots", decision, everyone, folder)
    assert (found["heldout_voters_accuracy"], found["votes"], found["voters"]) == (0.75, 2, 2)
    assert (found["length_baseline"], found["one_person"]) == (0.5, 0.0)
    assert found["by_likelihood"] == {"base": 0.5, "candidate": 0.6} and found["kl_to_base"] == 0.1


def test_a_run_that_ended_before_its_judgement_says_why(folder: Path, tmp_path: Path) -> None:
    decision = {"evidence": {}, "lineage": {}, "verdict": "skipped", "reason": "too few"}
    expected = {"verdict": "skipped", "reason": "too few"}
    assert judged_by_preferences(tmp_path, decision, [], folder) == expected
    assert judged_by_corrections(tmp_path, decision) == expected
