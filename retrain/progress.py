"""Progress of a run in words, for the log, the command line and the console, and an estimate before it trains.

Pure functions. The command line imports them, so they must not import torch or the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retrain.trainer.job import Step

WORDS = {
    "loss": "loss {:.3f}",
    "dev_loss": "dev loss {:.3f}",
    "dev_score": "dev score {:.3f}",
    "tokens_per_s": "{:,.0f} tokens/s",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a training will take: its steps, and seconds if an earlier training of this base says so."""

    steps: int
    seconds: float | None

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        if self.seconds is None:
            return f"{self.steps:,} steps. No earlier training says how long they take."
        return f"{self.steps:,} steps, about {duration(self.seconds)} by the last training."


def describe(phase: str, step: Step) -> str:
    """A step in words: its number, loss, speed, time left and memory, as far as they are known."""
    parts = [f"{phase} {step.done:,} of {step.total:,}", *_figures(step.metrics)]
    return ", ".join(parts)


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    found = []
    for name, words in WORDS.items():
        if isinstance(metrics.get(name), int | float):
            found.append(words.format(metrics[name]))
    if isinstance(metrics.get("seconds_left"), int | float):
        found.append(f"{duration(metrics['seconds_left'])} left")
    if isinstance(metrics.get("memory_gb"), int | float):
        found.append(f"{metrics['memory_gb']:.1f} GB")
    return found


def duration(seconds: float) -> str:
    """Seconds in words, such as `45 s`, `3 min` or `1 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
