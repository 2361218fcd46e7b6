"""Facts about what Optuna suggests and prunes: within the space, towards what scored well, the same after a restart."""

from dataclasses import replace
from typing import Any

import pytest

from retrain.search.space import Range, Space
from retrain.search.study import MEDIAN_OF, Study
from retrain.search.trials import Trial

SPACE: Space = {"learning_rate": Range(1e-4, 1e-2), "epochs": Range(1.0, 4.0), "rank": (8, 16, 32)}
CONFIGURED: dict[str, Any] = {"learning_rate": 5e-4, "epochs": 2.0, "rank": 16}


def complete(number: int, values: dict[str, Any], score: float, scores: tuple[float, ...] = ()) -> Trial:
    return Trial(number, values, "complete", tuple(enumerate(scores or (score,) * 4, 1)), score)


def searched(count: int, seed: int = 0) -> list[Trial]:
    """Trials whose score is higher the nearer the rate is to 5e-3."""
    study, trials = Study(SPACE, CONFIGURED, seed), []
    for number in range(count):
        values = study.suggest(trials)
        trials.append(complete(number, values, 1 - abs(values["learning_rate"] - 5e-3) * 100))
    return trials


def test_the_first_trial_has_the_configured_values_and_all_are_within_the_space() -> None:
    trials = searched(12)
    assert trials[0].values == CONFIGURED
    for trial in trials:
        assert 1e-4 <= trial.values["learning_rate"] <= 1e-2
        assert 1.0 <= trial.values["epochs"] <= 4.0
        assert trial.values["rank"] in (8, 16, 32)
    assert len({str(trial.values) for trial in trials}) == 12


def test_later_trials_are_where_earlier_ones_scored_well() -> None:
    def distance(trials: list[Trial]) -> float:
        return sum(abs(trial.values["learning_rate"] - 5e-3) for trial in trials) / len(trials)

    found = [searched(24, seed) for seed in range(3)]
    assert sum(distance(one[14:]) for one in found) < sum(distance(one[1:4]) for one in found)


def test_the_same_trials_give_the_same_suggestion_and_another_seed_another() -> None:
    trials = searched(6)
    again = Study(SPACE, CONFIGURED, 0)
    assert again.suggest(trials) == Study(SPACE, CONFIGURED, 0).suggest(trials) == searched(7)[6].values
    assert Study(SPACE, CONFIGURED, 1).suggest(trials) != again.suggest(trials)


@pytest.mark.parametrize("seed", [2**31 - 1, 10**12, -1])
def test_every_seed_of_a_training_is_one_of_a_search(seed: int) -> None:
    """2**31 - 1 is the largest seed of a fine-tuning job."""
    trials = searched(3, seed)
    assert [trial.values for trial in searched(3, seed)] == [trial.values for trial in trials]
    assert trials[1].values not in (trial.values for trial in searched(3))


def test_trials_that_failed_or_were_pruned_are_no_obstacle() -> None:
    first = complete(0, CONFIGURED, 0.5)
    failed = Trial(1, CONFIGURED, "failed", reason="NaN")
    pruned = Trial(2, CONFIGURED, "pruned", ((1, 0.2),))
    stopped = Trial(3, CONFIGURED, "stopped", ())
    assert Study(SPACE, CONFIGURED, 0).suggest([first, failed, pruned, stopped]).keys() == SPACE.keys()


def test_trials_outside_the_space_are_left_out() -> None:
    """An engine takes lower ranks now, or the bounds of a setting have changed."""
    inside = [complete(n, CONFIGURED, 0.5) for n in range(MEDIAN_OF)]
    outside = [
        complete(8, CONFIGURED | {"rank": 64}, 0.9),
        complete(9, CONFIGURED | {"epochs": 5.0}, 0.9),
        complete(10, CONFIGURED | {"beta": 0.1}, 0.9),
    ]
    study = Study(SPACE, CONFIGURED, 0)
    assert study.suggest([*inside, *outside]).keys() == SPACE.keys()
    current = Trial(11, CONFIGURED, scores=((1, 0.6),))
    assert study.reason_to_prune([*inside, *outside], current) is None
    assert study.reason_to_prune(inside, replace(outside[0], state="running", scores=((1, 0.1),))) is None


@pytest.mark.parametrize(("score", "pruned"), [(0.59, True), (0.6, False), (0.9, False)])
def test_a_trial_below_the_median_after_an_equal_part_is_pruned(score: float, pruned: bool) -> None:
    others = [complete(n, CONFIGURED, 0.9, (0.5 + n / 10, 0.9, 0.9, 0.9)) for n in range(MEDIAN_OF)]
    current = Trial(MEDIAN_OF, CONFIGURED, scores=((1, score),))
    reason = Study(SPACE, CONFIGURED, 0).reason_to_prune([*others, current], current)
    expected = f"Its dev score was {score:.3f} after 1 of 4 parts, below the median of the complete trials."
    assert reason == (expected if pruned else None)


def test_without_enough_complete_trials_or_a_score_nothing_is_pruned() -> None:
    others = [complete(n, CONFIGURED, 0.9) for n in range(MEDIAN_OF)]
    current = Trial(MEDIAN_OF, CONFIGURED, scores=((1, 0.1),))
    study = Study(SPACE, CONFIGURED, 0)
    assert study.reason_to_prune(others[1:], current) is None
    assert study.reason_to_prune([*others[1:], replace(others[0], state="pruned", score=None)], current) is None
    assert study.reason_to_prune(others, replace(current, scores=())) is None
    assert study.reason_to_prune(others, current)
