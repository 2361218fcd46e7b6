"""Facts about triggers: when a run starts, and what is missing otherwise."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.db import quarantines
from core.db.runs import FinishedRun
from core.db.store import Store
from core.settings import ModelSettings, RetrainSettings
from retrain.plan import JudgedAnswers, Method, Plan, choose_plan, judged_by, repeats_run
from retrain.trainer.job import Step
from retrain.triggers import NewFeedback, count_new, counted_method, possible_methods, reason_to_start
from tests.support.ingest import NOW
from tests.support.pairs import answer, fill, prefer, snap, vote


def generates(**retrain: Any) -> ModelSettings:
    split = {"train": 0.5, "dev": 0.1}
    return ModelSettings.model_validate({"task": "generate", "split": split, "retrain": retrain})


def classifies(**retrain: Any) -> ModelSettings:
    return ModelSettings.model_validate({"labels": ["a", "b"], "retrain": retrain})


CLASSIFIES = classifies(min_new_feedback=5, min_new_voters=3)
NOTHING = NewFeedback(0, 0)
New = dict[Method, NewFeedback]


def test_enough_new_feedback_from_enough_voters_starts_a_run_and_says_so():
    assert reason_to_start({"sft": NewFeedback(4, 4)}, CLASSIFIES) is None
    assert reason_to_start({"sft": NewFeedback(500, 2)}, CLASSIFIES) is None
    reason = "Triggered by new feedback on 5 answers from 3 voters (thresholds 5 and 3)"
    assert reason_to_start({"sft": NewFeedback(5, 3)}, CLASSIFIES) == reason


def test_pairs_start_a_run_where_they_are_enough_to_train_on():
    settings = generates(min_pairs=300)
    few: New = {"sft": NOTHING, "dpo": NewFeedback(599, 40), "kto": NOTHING}
    assert reason_to_start(few, settings) is None
    assert reason_to_start({**few, "dpo": NewFeedback(600, 40)}, settings) == (
        "Triggered by new preferences and corrections on 600 pairs of answers from 40 voters (thresholds 200 and 5)"
    )


def test_votes_of_the_last_snapshot_count_towards_what_a_method_needs():
    new: New = {"sft": NOTHING, "dpo": NOTHING, "kto": NewFeedback(200, 9, trained_on=800)}
    assert reason_to_start(new, generates(min_rated=500)) == (
        "Triggered by new thumbs and ratings on 200 answers from 9 voters (thresholds 200 and 5)"
    )
    assert reason_to_start(new, generates(min_rated=501)) is None


def test_votes_that_the_method_of_the_next_run_does_not_use_start_no_run():
    settings = generates(min_labels=50)
    new: New = {
        "sft": NewFeedback(10, 9, trained_on=500),
        "dpo": NewFeedback(900, 90, 900),
        "kto": NewFeedback(900, 90, 900),
    }
    assert counted_method(new, settings) == "sft"
    assert reason_to_start(new, settings) is None


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_a_named_method_counts_its_own_votes_alone(objective: Any):
    settings = generates(objective=objective)
    assert possible_methods(settings) == [objective]
    assert reason_to_start({objective: NewFeedback(200, 5)}, settings)


def test_new_votes_of_each_method_are_counted_with_those_of_the_last_snapshot(tmp_path: Path):
    store, settings = Store(":memory:"), generates(min_new_feedback=2, rating_middle=3, min_pairs=8)
    fill(store, *(answer(f"a{n}", user=f"u{n}") for n in range(12)))
    fill(store, *(prefer(n, f"a{n}", f"a{n + 1}", f"u{n}") for n in (0, 2, 4)), vote(7, "a7", "thumbs", True, "u7"))
    snap(store, tmp_path, settings)
    assert count_new(store, "m", settings, least=4) == {
        "sft": NOTHING,
        "dpo": NewFeedback(3, 0),
        "kto": NewFeedback(1, 0),
    }
    many = count_new(store, "m", settings, most=2)
    assert [(new.answers, new.voters) for new in many.values()] == [(0, 0), (3, 3), (1, 1)]
    found = count_new(store, "m", settings)
    assert {method: (new.answers, new.voters) for method, new in found.items()} == {
        "sft": (0, 0),
        "dpo": (3, 3),
        "kto": (1, 1),
    }
    assert found["kto"].trained_on == 1
    store.close()


def test_preferences_of_another_model_are_no_new_feedback_where_there_are_many():
    store, settings = Store(":memory:"), generates(objective="dpo")
    others = [replace(answer(f"o{n}", user=f"o{n}"), model="other") for n in range(8)]
    fill(store, *(answer(f"a{n}", user=f"u{n}") for n in range(2)), *others)
    fill(store, prefer(0, "a0", "a1", "u0"), *(prefer(n, f"o{n}", f"o{n + 1}", f"o{n}") for n in range(1, 7)))
    assert count_new(store, "m", settings, most=2) == {"dpo": NewFeedback(1, 1)}
    assert count_new(store, "other", settings, most=2) == {"dpo": NewFeedback(6, 6)}
    store.close()


def test_votes_in_quarantine_are_no_new_feedback_where_there_are_many():
    store = Store(":memory:")
    fill(store, *(answer(f"a{n}", user=f"u{n}") for n in range(6)))
    fill(store, *(vote(n, f"a{n}", "label", "a", f"u{n}") for n in range(6)))
    assert count_new(store, "m", CLASSIFIES, most=2) == {"sft": NewFeedback(6, 0)}
    with store.transaction() as transaction:
        quarantines.add(transaction, id="q", model="m", version=1, decision_id="d", time=NOW)
        quarantines.add_predicates(
            transaction, id="q", predicates=[quarantines.Predicate(user=f"u{n}") for n in range(2)]
        )
    assert count_new(store, "m", CLASSIFIES, most=2) == {"sft": NewFeedback(4, 0)}
    store.close()


def test_voters_who_are_named_by_their_answers_only_count_too():
    store = Store(":memory:")
    named = [vote(n, f"a{n}", "label", "a", f"u{n}") for n in range(3)]
    fill(store, *(answer(f"a{n}", user=f"u{n}") for n in range(6)), *named)
    fill(store, *(vote(n, f"a{n}", "label", "a", None) for n in range(3, 6)))
    assert count_new(store, "m", CLASSIFIES)["sft"].voters == 6
    store.close()


def test_equal_rows_and_settings_are_not_trained_on_twice():
    last = FinishedRun("run-1", "abc", {"labels": ["a", "b"]})
    reason = "No row of the snapshot has changed since run run-1, which has the same settings."
    assert repeats_run("abc", {"labels": ["a", "b"]}, last) == reason
    assert repeats_run("abc", {"labels": ["a", "c"]}, last) is None
    assert repeats_run("abd", {"labels": ["a", "b"]}, last) is None
    assert repeats_run("abc", {}, None) is None


def test_too_few_labels_are_refused_with_what_is_missing():
    found = choose_plan({"a": 10, "b": 9}, RetrainSettings(min_labels=20))
    assert found.objective is None
    assert found.reason == "The train split has 19 labels; retrain.min_labels requires 20."


def test_labels_of_one_kind_train_no_classifier():
    assert choose_plan({"a": 500, "b": 0}, RetrainSettings(min_labels=20)).objective is None


def test_corrections_need_no_two_kinds():
    found = choose_plan({"any text": 20}, RetrainSettings(min_labels=20), "correction")
    assert (found.objective, found.reason) == ("sft", "The train split has 20 corrections.")
    assert choose_plan({"any text": 19}, RetrainSettings(min_labels=20), "correction").objective is None


def plan(corrections: int, judged: JudgedAnswers, **settings: Any) -> tuple[str | None, str]:
    how = RetrainSettings.model_validate({"min_labels": 20, "min_pairs": 30, "min_rated": 50} | settings)
    found = choose_plan({"any text": corrections}, how, "correction", judged)
    return found.objective, found.reason


def test_corrections_come_before_pairs_and_pairs_before_thumbs():
    everything = JudgedAnswers(pairs=30, liked=40, disliked=10)
    liked = "40 answers that users liked and 10 that they did not"
    assert plan(20, everything) == (
        "sft",
        "The train split has 20 corrections. DPO does not follow SFT: 0 of 30 pairs are preferences; retrain.min_pairs "
        f"requires 30 of them. It also has {liked}, which SFT does not use.",
    )
    assert plan(19, everything) == (
        "dpo",
        f"The train split has 30 pairs. It also has {liked}, which DPO does not use.",
    )
    assert plan(19, JudgedAnswers(29, 40, 10)) == ("kto", f"The train split has {liked}.")


@pytest.mark.parametrize(("preferences", "then"), [(29, None), (30, "dpo"), (90, "dpo")])
def test_dpo_follows_sft_only_on_enough_preferences_that_are_no_corrections(preferences: int, then: str | None):
    judged = JudgedAnswers(pairs=90, liked=40, disliked=10, preferences=preferences)
    found = choose_plan(
        {"any text": 20}, RetrainSettings(min_labels=20, min_pairs=30, min_rated=50), "correction", judged
    )
    assert (found.objective, found.then) == ("sft", then)
    follows = f"DPO follows SFT on 90 pairs, {preferences} of them preferences."
    assert (follows in found.reason) is (then == "dpo")
    assert f"which SFT {'and DPO do' if then else 'does'} not use." in found.reason


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_a_method_that_the_settings_name_has_no_second_objective(objective: Any):
    judged = JudgedAnswers(pairs=90, preferences=90)
    how = RetrainSettings(min_labels=20, min_pairs=30, objective=objective)
    assert choose_plan({"any text": 20}, how, "correction", judged).then is None


def test_too_few_corrections_have_no_second_objective():
    judged = JudgedAnswers(pairs=90, preferences=90)
    found = choose_plan({"any text": 19}, RetrainSettings(min_labels=20, min_pairs=30), "correction", judged)
    assert (found.objective, found.then, found.reason) == ("dpo", None, "The train split has 90 pairs.")


def test_what_is_missing_is_said_of_each_method():
    assert plan(19, JudgedAnswers(29, 49, 9)) == (
        None,
        "The train split has 19 corrections; retrain.min_labels requires 20; 29 pairs; retrain.min_pairs requires 30; "
        "49 answers that users liked and 9 that they did not; retrain.min_rated requires 50, 10 of each.",
    )
    assert plan(0, JudgedAnswers(0, 39, 10))[0] is None
    assert plan(0, JudgedAnswers(), fallback="rag")[0] == "rag"


def test_a_method_that_the_settings_name_is_the_only_one():
    everything = JudgedAnswers(pairs=30, liked=40, disliked=10)
    assert plan(99, everything, objective="dpo") == ("dpo", "The train split has 30 pairs.")
    assert plan(99, everything, objective="kto")[0] == "kto"
    assert plan(19, everything, objective="sft") == (
        None,
        "The train split has 19 corrections; retrain.min_labels requires 20.",
    )
    classify = choose_plan({"a": 99, "b": 99}, RetrainSettings(objective="dpo"))
    assert (classify.objective, classify.reason) == (None, "retrain.objective dpo needs task: generate.")


@pytest.mark.parametrize(
    ("objective", "kpi", "judged"),
    [
        ("dpo", "token_f1", "preference_margin"),
        ("kto", "chrf", "preference_margin"),
        ("dpo", "preference_accuracy", "preference_accuracy"),
        ("sft", "token_f1", "token_f1"),
        ("rag", "chrf", "chrf"),
    ],
)
def test_preferences_judge_what_preferences_taught(objective: Any, kpi: str, judged: str):
    promotion = {"primary": {"kpi": kpi, "min_gain": 0.02}, "must_beat": ["base"]}
    settings = ModelSettings.model_validate({"task": "generate", "promotion": promotion})
    found = judged_by(Plan(objective, ""), settings).promotion
    assert (found.primary.kpi, found.primary.min_gain, found.must_beat) == (judged, 0.02, ["base"])


def test_a_step_survives_its_line_and_other_lines_are_none():
    step = Step(3, 10, {"loss": 0.5})
    assert Step.parse(step.line()) == step
    assert Step.parse("{'loss': 0.5}") is None
