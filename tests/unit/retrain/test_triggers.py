"""Facts about triggers: when a run starts, and what is missing otherwise."""

from core.settings import RetrainSettings
from retrain.plan import choose_plan, reason_to_start
from retrain.trainer.job import Step


def test_enough_new_feedback_starts_a_run_and_says_so():
    settings = RetrainSettings(min_new_feedback=5)
    assert reason_to_start(4, None, settings) is None
    assert reason_to_start(5, None, settings) == "Triggered by 5 new feedback rows (threshold 5)"


def test_a_model_has_one_run_at_a_time():
    assert reason_to_start(10_000, "run-1", RetrainSettings(min_new_feedback=5)) is None


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
