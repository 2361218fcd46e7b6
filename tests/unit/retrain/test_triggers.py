"""Facts about triggers: when a run starts, and what is missing otherwise."""

from core.db.runs import FinishedRun
from core.settings import RetrainSettings
from retrain.plan import NewFeedback, choose_plan, reason_to_start, repeats_run
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


def test_a_step_survives_its_line_and_other_lines_are_none():
    step = Step(3, 10, {"loss": 0.5})
    assert Step.parse(step.line()) == step
    assert Step.parse("{'loss': 0.5}") is None
