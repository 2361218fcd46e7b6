"""Ask Optuna for the values of the next trial, and whether to prune one. Its study is made of our own rows each time.

So it needs no storage, and a search that continues after a restart makes the same suggestions.
"""

from collections.abc import Sequence
from typing import Any

from retrain.search.space import Range, Space
from retrain.search.trials import COMPLETE, PARTS, Trial

# The first trial has the configured values, and these many are drawn at random before scores decide.
RANDOM_TRIALS = 3
# Complete trials that a median needs.
MEDIAN_OF = 3
SIGNIFICANT = 4
# NumPy's seeds are below this number and not negative.
SEEDS = 2**32


class Study:
    """The suggestions of Optuna's tree-structured Parzen estimator, and its median pruner. Equal inputs, equal answers.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011.
    """

    def __init__(self, space: Space, configured: dict[str, Any], seed: int) -> None:
        import optuna  # it takes half a second, and most runs do not search

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._space = space
        self._configured = configured
        self._seed = seed
        self._distributions: dict[str, Any] = {
            name: optuna.distributions.FloatDistribution(part.low, part.high, log=True)
            if isinstance(part, Range)
            else optuna.distributions.CategoricalDistribution(part)
            for name, part in space.items()
        }

    def suggest(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Return the values of the next trial. The first has the configured ones."""
        if not trials:
            return dict(self._configured)
        # A sampler continues its random numbers; a seed per trial gives the same ones after a restart.
        seed = (self._seed * 1_000 + len(trials)) % SEEDS
        sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=1 + RANDOM_TRIALS)
        asked = self._study(trials, sampler).ask(self._distributions)
        return {name: _rounded(value, self._distributions[name]) for name, value in asked.params.items()}

    def reason_to_prune(self, trials: Sequence[Trial], current: Trial) -> str | None:
        """Return why a running trial is ended early: its best score is below the median of the complete ones.

        They are compared after the same part of their trainings.
        """
        pruner = self._optuna.pruners.MedianPruner(n_startup_trials=MEDIAN_OF)
        others = [trial for trial in trials if trial.number != current.number]
        if not current.scores or not self._has(current) or not pruner.prune(self._study(others), self._frozen(current)):
            return None
        part, score = current.scores[-1]
        return f"Its dev score was {score:.3f} after {part} of {PARTS} parts, below the median of the complete trials."

    def _study(self, trials: Sequence[Trial], sampler: Any = None) -> Any:
        study = self._optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials([self._frozen(trial) for trial in trials if self._has(trial)])
        return study

    def _has(self, trial: Trial) -> bool:
        """Whether the values of a trial are in the space. Optuna takes no others, and settings may have changed."""
        return trial.values.keys() == self._space.keys() and all(
            part.low <= trial.values[name] <= part.high if isinstance(part, Range) else trial.values[name] in part
            for name, part in self._space.items()
        )

    def _frozen(self, trial: Trial) -> Any:
        states = self._optuna.trial.TrialState
        kept = {"complete": states.COMPLETE, "failed": states.FAIL, "running": states.RUNNING}
        return self._optuna.trial.create_trial(
            # A trial that the budget ended is as good as a pruned one: its scores up to there are known.
            state=kept.get(trial.state, states.PRUNED),
            value=trial.score if trial.state == COMPLETE else None,
            params=trial.values,
            distributions=self._distributions,
            intermediate_values=dict(trial.scores),
        )


def _rounded(value: Any, distribution: Any) -> Any:
    """Return a value with four significant digits, within its bounds, so that what is shown is what was used."""
    if not isinstance(value, float):
        return value
    return min(max(float(f"{value:.{SIGNIFICANT}g}"), distribution.low), distribution.high)
