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
    """How long a training will take: its steps by objective, and seconds per step if an earlier training says so."""

    by_objective: Mapping[str, int]
    step_s: float | None

    @property
    def steps(self) -> int:
        """The steps of all objectives."""
        return sum(self.by_objective.values())

    @property
    def seconds(self) -> float | None:
        """The seconds of all objectives, None if they are not known."""
        return None if self.step_s is None else self.steps * self.step_s

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        objectives = " and ".join(f"{count:,} of {name.upper()}" for name, count in self.by_objective.items())
        steps = f"{self.steps:,} steps" + (f" ({objectives})" if len(self.by_objective) > 1 else "")
        if self.seconds is None:
            return f"{steps}. No earlier training says how long they take."
        return f"{steps}, about {duration(self.seconds)} by the last training."


def describe(phase: str, step: Step) -> str:
    """A step in words: its number, objective, loss, speed, time left and memory, as far as they are known."""
    objective = f" ({step.metrics['objective']})" if "objective" in step.metrics else ""
    parts = [f"{phase} {step.done:,} of {step.total:,}{objective}", *_figures(step.metrics)]
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


def share_words(share: float) -> str:
    """A share of the train rows in words, such as `1/8 of the rows`."""
    return "all rows" if share >= 1 else f"1/{round(1 / share)} of the rows"
