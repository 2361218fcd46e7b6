"""Facts about the decisions of a search: when there is one, when it ends, and which trial is the best."""

import json
from typing import Any

import pytest

from core.errors import SettingsError
from core.settings import ModelSettings, SearchSettings, build
from retrain.search.space import Range, configured_values, setup_of, space_of, with_values
from retrain.search.trials import (
    LastSearch,
    Trial,
    best_of,
    chosen_values,
    conclusion,
    plan_search,
    reason_to_end,
)
from retrain.trainer.job import Job

VALUES = {"learning_rate": 5e-4, "epochs": 3.0, "rank": 16}
AUTO, ALWAYS = SearchSettings(mode="auto"), SearchSettings(mode="always", trials=3, minutes=2)


def job(**more: Any) -> Job:
    given: dict[str, Any] = {
        "run_id": "run",
        "base": "b",
        "snapshot": "s",
        "output": "o",
        "rank": 16,
        "epochs": 1.0,
        "batch_size": 8,
        "learning_rate": 5e-4,
        "max_rows": None,
        "max_length": 512,
        "seed": 0,
        "threads": 1,
        "dtype": "float32",
        "min_steps": 150,
    }
    return Job(**given | more)


def search_settings(written: Any) -> SearchSettings:
    return ModelSettings.model_validate({"labels": ["a", "b"], "retrain": {"search": written}}).retrain.search


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (False, ("off", 12, 60)),  # YAML reads off so
        ("off", ("off", 12, 60)),
        ({"mode": False, "trials": 5}, ("off", 5, 60)),
        ("auto", ("auto", 12, 60)),
        ({"trials": 5}, ("always", 5, 60)),
        ({"minutes": 30}, ("always", 12, 30)),
        ({"mode": "auto", "trials": 4}, ("auto", 4, 60)),
        ({}, ("off", 12, 60)),
    ],
)
def test_the_setting_has_short_forms(written: Any, expected: tuple[str, int, float]) -> None:
    found = search_settings(written)
    assert (found.mode, found.trials, found.minutes) == expected
    assert SearchSettings.model_validate(found.model_dump()) == found


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("on", "write off, auto, or a budget"),
        (True, "write off, auto, or a budget"),
        (20, "write off, auto, or a budget"),
        (None, "write off, auto, or a budget"),
        ({"trials": 1}, "retrain.search.trials: Input should be greater than or equal to 2"),
        ({"minutes": 0}, "retrain.search.minutes: Input should be greater than 0"),
        ({"trial": 9}, "retrain.search.trial is not a setting. Did you mean trials?"),
    ],
)
def test_another_value_is_refused_with_its_field(written: Any, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        build({"models": {"m": {"labels": ["a", "b"], "retrain": {"search": written}}}})
    assert "models.m.retrain.search" in str(refused.value) and message in str(refused.value)


def plan(settings: SearchSettings = AUTO, last: LastSearch | None = None, **more: Any) -> tuple[bool, str, Any]:
    given: dict[str, Any] = {"method": "sft", "rows": 400, "dev_rows": 60, "setup": VALUES}
    found = plan_search(settings, last, **given | more)
    return found.searches, found.reason, found.values


def test_auto_searches_before_the_first_training_and_when_the_rows_have_doubled() -> None:
    last = LastSearch("run-1", 200, VALUES, {"rank": 8})
    assert plan() == (True, "No search of SFT has ended with a score yet: up to 12 trials or 60 min.", {})
    assert plan(last=last) == (True, "The train rows have doubled, from 200 to 400: up to 12 trials or 60 min.", {})
    assert plan(last=last, rows=399) == (
        False,
        "The values are those of the search of run run-1, on 200 rows.",
        {"rank": 8},
    )


def test_auto_searches_again_where_the_settings_have_changed() -> None:
    searches, reason, _ = plan(last=LastSearch("run-1", 399, VALUES, {"rank": 8}), setup=VALUES | {"rank": 32})
    assert searches and "The base model or the settings of trainings have changed since run run-1" in reason


def test_without_enough_dev_rows_there_is_no_search() -> None:
    assert plan(ALWAYS, dev_rows=19) == (False, "No search: the dev part has 19 rows, and 20 are needed.", {})
    assert plan(SearchSettings()) == (False, "", {})


def test_a_budget_searches_each_time() -> None:
    last = LastSearch("run-1", 400, VALUES, {})
    assert plan(ALWAYS, last) == (True, "retrain.search asks for up to 3 trials or 2 min.", {})


def trial(number: int, score: float | None = None, seconds: float = 10.0, state: Any = None) -> Trial:
    kept = state or ("complete" if score is not None else "pruned")
    return Trial(number, VALUES | {"rank": number}, kept, score=score, seconds=seconds)


def test_a_search_ends_with_its_trials_or_its_time() -> None:
    assert reason_to_end([trial(0, 0.5), trial(1)], ALWAYS) is None
    assert reason_to_end([trial(0, 0.5), trial(1), trial(2)], ALWAYS) == "3 trials were made"
    assert reason_to_end([trial(0, 0.5, 121.0)], ALWAYS) == "2 min are over"


def test_a_search_ends_where_the_configured_values_fail() -> None:
    assert reason_to_end([trial(0, state="failed")], ALWAYS) == "the trial with the configured values failed"
    assert reason_to_end([trial(0, 0.5), trial(1, state="failed")], ALWAYS) is None


def test_the_best_trial_is_complete_and_equal_ones_change_nothing() -> None:
    trials = [trial(0, 0.7), trial(1, 0.8), trial(2, 0.8), trial(3)]
    best = best_of(trials, 16)
    assert best == trials[1] and chosen_values(best) == VALUES | {"rank": 1}
    assert conclusion(trials, "3 trials were made", 16) == (
        "The search ended after 40 s: 3 trials were made. "
        "Trial 1 has the highest dev score, 0.800, 0.700 with the configured values."
    )
    equal = [trial(0, 0.8), trial(1, 0.8)]
    assert chosen_values(best_of(equal, 16)) == {}
    assert "No trial has a higher dev score than the configured values, 0.800." in conclusion(equal, "x", 16)
    assert best_of([trial(0), trial(1)], 16) is None
    assert "No trial has a score, so the configured values stay." in conclusion([trial(0)], "x", 16)


def test_a_trial_whose_rank_engines_no_longer_take_is_passed_over() -> None:
    trials = [trial(0, 0.7), trial(1, 0.75), trial(2, 0.9)]
    assert best_of(trials, 2) == trials[2] and best_of(trials, 1) == trials[1]
    assert conclusion(trials, "3 trials were made", 1) == (
        "The search ended after 30 s: 3 trials were made. "
        "Trials with a rank above engine.max_lora_rank, now 1, do not count. "
        "Trial 1 has the highest dev score, 0.750, 0.700 with the configured values."
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"base": "other"},
        {"rank": 8},
        {"learning_rate": 1e-3},
        {"kpi": "macro_f1"},
        {"labels": ("a", "b", "c")},
        {"dev_steps": 25},
        {"patience": 5},
    ],
)
def test_a_change_of_what_a_training_or_its_score_is_makes_a_search_out_of_date(changed: dict[str, Any]) -> None:
    kept = json.loads(json.dumps(setup_of(job(labels=("a", "b")))))
    assert setup_of(job(labels=("a", "b"), run_id="other", seed=5, threads=4)) == kept
    assert setup_of(job(**{"labels": ("a", "b")} | changed)) != kept


def test_the_space_is_around_the_configured_values() -> None:
    space = space_of(job(), 3.0, max_rank=16)
    assert space == {
        "learning_rate": Range(1.25e-4, 2e-3),
        "epochs": Range(1.5, 6.0),
        "rank": (8, 16),
    }
    assert configured_values(job(), 3.0, space) == VALUES
    assert space_of(job(objective="dpo"), 3.0, 64)["beta"] == Range(0.025, 0.4)
    assert space_of(job(learning_rate=0.5), 30.0, 64)["learning_rate"] == Range(0.125, 0.5)
    assert space_of(job(), 30.0, 64)["epochs"] == Range(15.0, 30.0)
    assert space_of(job(rank=10), 3.0, 64)["rank"] == (8, 10, 16)


def test_epochs_that_were_found_are_not_raised_by_the_minimum_of_steps() -> None:
    found = with_values(job(), {"epochs": 2.0, "rank": 8})
    assert (found.epochs, found.rank, found.min_steps) == (2.0, 8, 1)
    assert with_values(job(), {}) == job()
