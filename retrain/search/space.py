"""What a search varies: learning rate, epochs, rank and, for DPO and KTO, beta. Pure functions of a job."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from retrain.trainer.job import Job

# The largest factor by which a search changes a configured value, up and down.
RATE_FACTOR = 4.0
EPOCHS_FACTOR = 2.0
BETA_FACTOR = 4.0
RANKS = (4, 8, 16, 32, 64)
TRAINING = ("rank", "epochs", "min_steps", "batch_size", "learning_rate", "beta", "label_smoothing", "max_length")
# What the dev score of a trial means: its KPI, and which weights it is of.
SCORE = ("kpi", "dev_steps", "patience")
MOST_EPOCHS = 20.0
MOST_RATE = 0.1
MOST_BETA = 10.0


@dataclass(frozen=True, slots=True)
class Range:
    """A value between two bounds, drawn on a logarithmic scale."""

    low: float
    high: float


Space = Mapping[str, Range | tuple[int, ...]]
"""By the name of a job's field: its range, or the values to choose from."""


def space_of(job: Job, epochs: float, max_rank: int) -> Space:
    """Return what to vary around a configured job. `epochs` are its passes, with those that `min_steps` adds.

    The ranks are the configured one, its half and its double, as far as engines take them.
    """
    ranks = sorted({job.rank, *(rank for rank in RANKS if job.rank / 2 <= rank <= min(job.rank * 2, max_rank))})
    space: dict[str, Range | tuple[int, ...]] = {
        "learning_rate": _around(job.learning_rate, RATE_FACTOR, MOST_RATE),
        "epochs": _around(epochs, EPOCHS_FACTOR, max(MOST_EPOCHS, epochs)),
        "rank": tuple(ranks),
    }
    return space if job.objective == "sft" else space | {"beta": _around(job.beta, BETA_FACTOR, MOST_BETA)}


def setup_of(job: Job) -> dict[str, Any]:
    """Return what a search belongs to: with other settings, labels, or another base model, it is out of date.

    It is as JSON has it, because it is kept so.
    """
    replay = {"replay": job.replay} if job.replay else {}  # searches from before there was a replay had none
    return {name: getattr(job, name) for name in ("base", *TRAINING, *SCORE)} | {"labels": list(job.labels)} | replay


def configured_values(job: Job, epochs: float, space: Space) -> dict[str, Any]:
    """Return the values of the configured job for each name of the space."""
    return {name: epochs if name == "epochs" else getattr(job, name) for name in space}


def with_values(job: Job, values: Mapping[str, Any]) -> Job:
    """Return the job with values that a search found. Then few rows get no more passes than its epochs."""
    return replace(job, **values, **({"min_steps": 1} if "epochs" in values else {})) if values else job


def _around(value: float, factor: float, most: float) -> Range:
    return Range(value / factor, max(value, min(value * factor, most)))
