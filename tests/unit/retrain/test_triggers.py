"""Facts about triggers: when a run starts, and what is missing otherwise."""

from typing import Any

import pytest

from core.db.runs import FinishedRun
from core.settings import ModelSettings, RetrainSettings
from retrain.plan import JudgedAnswers, NewFeedback, Plan, choose_plan, judged_by, reason_to_start, repeats_run
from retrain.trainer.job import Step


def test_enough_new_feedback_from_enough_voters_starts_a_run_and_says_so():
    settings = RetrainSettings(min_new_feedback=5, min_new_voters=3)
    assert reason_to_start(NewFeedback(4, 4), None, settings) is None
    assert reason_to_start(NewFeedback(500, 2), None, settings) is None
    reason = "Triggered by new feedback on 5 answers from 3 voters (thresholds 5 and 3)"
    assert reason_to_start(NewFeedback(5, 3), None, settings) == reason


def test_a_model_has_one_run_at_a_time():
    assert reason_to_start(NewFeedback(10_000, 100), "run-1", RetrainSettings(min_new_feedback=5)) is None


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
        f"The train split has 20 corrections. It also has 30 pairs and {liked}, which SFT does not use.",
    )
    assert plan(19, everything) == (
        "dpo",
        f"The train split has 30 pairs. It also has {liked}, which DPO does not use.",
    )
    assert plan(19, JudgedAnswers(29, 40, 10)) == ("kto", f"The train split has {liked}.")


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
