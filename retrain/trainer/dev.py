"""Stop a training by its dev part: rows of users that it does not train on, scored in the trainer's own process."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from retrain.trainer.batches import Example
from retrain.trainer.objectives import Objective, Scored

# With fewer dev rows, chance would decide where a training stops.
LEAST_ROWS = 20
# A loss on more rows takes longer and is hardly more exact.
MOST_ROWS = 100
# A loss this far above the lowest, as a share of it, is as good: up to 100 rows measure it no better. Then the later
# weights are kept, which have seen more rows.
TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class DevPart:
    """Dev examples, and how their loss is computed."""

    examples: Sequence[Example]
    objective: Objective
    scored: Scored

    def loss(self) -> float:
        """Return the loss on the dev examples."""
        return self.objective.measure(self.scored, self.examples)


@dataclass(slots=True)
class DevLosses:
    """The loss on dev rows by step. After `patience` measurements that are clearly worse, the training stops."""

    patience: int
    found: list[tuple[int, float]] = field(default_factory=list)

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
        """Return where the training ended and why, and every measurement."""
        last, (step, loss) = self.found[-1][0], self.best
        kept = f"The adapter of step {step} is kept, with a loss of {loss:.4f} on {rows} dev rows."
        if last < total:
            why = f"Stopped at step {last} of {total}: the dev loss was clearly worse {self.patience} times in a row."
        else:
            why = f"Ended at its last step, {total}."
        losses = [[at, round(value, 6)] for at, value in self.found]
        return {"rows": rows, "steps": last, "total": total, "kept": step, "reason": f"{why} {kept}", "losses": losses}

    def to_json(self) -> str:
        """The measurements as text, for a checkpoint."""
        return json.dumps(self.found)

    def restore(self, text: str) -> None:
        """The inverse of `to_json`."""
        self.found = [(step, loss) for step, loss in json.loads(text)]
