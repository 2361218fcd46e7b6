"""Stop a training by its dev part: rows of users that it does not train on, scored in the trainer's own process."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eval.kpis.bootstrap import BootstrapPlan, Statistic, resample
from retrain.trainer.batches import Example
from retrain.trainer.dev_score import SCORE, DevScore, voters_of
from retrain.trainer.objectives import Objective, Scored

# A loss on more rows takes longer and is hardly more exact.
MOST_ROWS = 100
# A loss this far above the lowest, as a share of it, is as good: up to 100 rows measure it no better. Then the later
# weights are kept, which have seen more rows.
TOLERANCE = 0.05
# Of one-sided bounds. The interval of a learning curve is computed from the samples, where it is shown.
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class DevPart:
    """Dev examples, how their loss is computed, and the KPI of the dev part if it has one."""

    examples: Sequence[Example]
    objective: Objective
    scored: Scored
    kpi: DevScore | None = None

    def loss(self) -> float:
        """Return the loss on the dev examples."""
        return self.objective.measure(self.scored, self.examples)

    def score(self, loss: float | None = None) -> dict[str, float]:
        """Return the score of the dev part, higher is better, and its figures. Without a KPI it is minus the loss.

        `loss` is the one of these weights, if it is known.
        """
        if self.kpi:
            return self.kpi.measure(self.scored)
        loss = self.loss() if loss is None else loss
        return {SCORE: -loss, "dev_loss": loss}

    def resampled(self, resamples: int) -> dict[str, Any]:
        """Return the score in each resample of the voters, as `samples`, and the number of voters, as `voters`.

        Two trainings with equal dev examples have the same resamples, so that their scores form pairs.
        """
        voters = self.kpi.voters if self.kpi else voters_of(self.examples)
        statistic = self.kpi.resampled(self.scored) if self.kpi else self._resampled_loss()
        found = resample({SCORE: statistic}, voters, BootstrapPlan(LEVEL, resamples))[SCORE]
        return {"samples": [round(float(value), 6) for value in found], "voters": int(voters.max()) + 1}

    def _resampled_loss(self) -> Statistic:
        losses = np.array([self.objective.measure(self.scored, self.examples, [n]) for n in range(len(self.examples))])
        sizes = np.array([self.objective.size(example) for example in self.examples])
        return lambda weights: -(weights @ (losses * sizes)) / (weights @ sizes)


@dataclass(slots=True)
class DevLosses:
    """The loss on dev rows by step. After `patience` measurements that are clearly worse, the training stops.

    `scores` has the score of the dev part by step, with its figures. It decides nothing here.
    """

    patience: int
    found: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def add(self, step: int, loss: float) -> bool:
        """Add a measurement. Returns whether its weights are the ones to keep."""
        self.found.append((step, loss))
        return self.best == (step, loss)

    @property
    def best(self) -> tuple[int, float]:
        """The last step whose loss was not clearly above the lowest until then, and that loss."""
        lowest, kept = math.inf, self.found[0]
        for step, loss in self.found:
            lowest = min(lowest, loss)
            if loss <= lowest + TOLERANCE * abs(lowest):
                kept = (step, loss)
        return kept

    @property
    def stops(self) -> bool:
        """Whether the loss has been clearly worse for long enough."""
        return bool(self.found) and len(self.found) - 1 - self.found.index(self.best) >= self.patience

    def report(self, rows: int, total: int) -> dict[str, Any]:
        """Return every score, that of the weights to keep, and with losses also where the training ended and why."""
        scores: dict[str, Any] = {"rows": rows, "scores": [[at, figures] for at, figures in self.scores]}
        if not self.found:
            return scores | {"score": self.scores[-1][1]}
        last, (step, loss) = self.found[-1][0], self.best
        kept = f"The adapter of step {step} is kept, with a loss of {loss:.4f} on {rows} dev rows."
        if last < total:
            why = f"Stopped at step {last} of {total}: the dev loss was clearly worse {self.patience} times in a row."
        else:
            why = f"Ended at its last step, {total}."
        losses = [[at, round(value, 6)] for at, value in self.found]
        ended = {"steps": last, "total": total, "kept": step, "reason": f"{why} {kept}", "losses": losses}
        return scores | ended | {"score": dict(self.scores).get(step)}

    def to_json(self) -> str:
        """The measurements as text, for a checkpoint."""
        return json.dumps([self.found, self.scores])

    def restore(self, text: str) -> None:
        """The inverse of `to_json`."""
        found, scores = json.loads(text)
        self.found = [(step, loss) for step, loss in found]
        self.scores = [(step, score) for step, score in scores]
