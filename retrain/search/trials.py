"""Trials of a search: trainings with other settings, their scores on the dev part, and decisions on them.

Pure functions with reasons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from core.settings import SearchSettings
from retrain.progress import duration

# A trial's dev part is scored after each quarter. Trials of different lengths are compared after equal parts.
PARTS = 4
# As in the trainer, which control must not import for it: with fewer dev rows, chance would decide.
LEAST_DEV_ROWS = 20
State = Literal["running", "complete", "pruned", "stopped", "failed"]
RUNNING: State = "running"
COMPLETE: State = "complete"


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a search: its values, the scores after each part of it, its state, and its cost in seconds.

    `score` is that of a complete trial, and `figures` what it is made of. `reason` says why another trial has ended.
    """

    number: int
    values: dict[str, Any]
    state: State = RUNNING
    scores: tuple[tuple[int, float], ...] = ()
    score: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""

    def with_score(self, part: int, score: float) -> "Trial":
        """Return the trial with the score after a part. After a restart, a part may be scored again."""
        return replace(self, scores=tuple(sorted({**dict(self.scores), part: score}.items())))


@dataclass(frozen=True, slots=True)
class LastSearch:
    """The newest search of a model by a method that has a score: its run, train rows, setup, and what it found."""

    run: str
    rows: int
    setup: dict[str, Any]
    chosen: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """Whether a run searches, with the reason; otherwise the values to train with, none for the configured ones."""

    searches: bool
    reason: str
    values: dict[str, Any] = field(default_factory=dict)


def plan_search(
    settings: SearchSettings,
    last: LastSearch | None,
    *,
    method: str,
    rows: int,
    dev_rows: int,
    setup: dict[str, Any],
) -> SearchPlan:
    """Return whether a run searches. Between two searches, `auto` trains with the values that the last one found."""
    if settings.mode == "off":
        return SearchPlan(False, "")
    if dev_rows < LEAST_DEV_ROWS:
        return SearchPlan(False, f"No search: the dev part has {dev_rows} rows, and {LEAST_DEV_ROWS} are needed.")
    budget = f"up to {settings.trials} trials or {duration(settings.minutes * 60)}"
    if settings.mode == "always":
        return SearchPlan(True, f"retrain.search asks for {budget}.")
    why = _reason_for_auto(last, method, rows, setup)
    if why or last is None:
        return SearchPlan(True, f"{why}: {budget}.")
    return SearchPlan(False, f"The values are those of the search of run {last.run}, on {last.rows} rows.", last.chosen)


def _reason_for_auto(last: LastSearch | None, method: str, rows: int, setup: dict[str, Any]) -> str | None:
    if last is None:
        return f"No search of {method.upper()} has ended with a score yet"
    if last.setup != setup:
        return f"The base model or the settings of trainings have changed since run {last.run}"
    if rows >= 2 * last.rows:
        return f"The train rows have doubled, from {last.rows} to {rows}"
    return None


def reason_to_end(trials: Sequence[Trial], settings: SearchSettings) -> str | None:
    """Return why a search ends, None where another trial begins."""
    if len(trials) >= settings.trials:
        return f"{len(trials)} trials were made"
    if out_of_time(trials, settings):
        return f"{duration(settings.minutes * 60)} are over"
    if trials and trials[0].state == "failed":
        return "the trial with the configured values failed"
    return None


def out_of_time(trials: Sequence[Trial], settings: SearchSettings) -> bool:
    """Return whether the time of a search is over. The first trial always ends, so that there is a result."""
    seconds = sum(trial.seconds for trial in trials)
    return any(trial.state != RUNNING for trial in trials) and seconds >= settings.minutes * 60


def best_of(trials: Sequence[Trial], max_rank: int) -> Trial | None:
    """Return the complete trial with the highest score, of equal ones the first. None if none is complete.

    The first trial has the configured values, so others replace them only where they are better. Trials above
    `max_rank` do not count: the limit of the engines was lowered since, and they would refuse the adapter.
    """
    scored = [trial for trial in trials if trial.state == COMPLETE and trial.score is not None]
    complete = [trial for trial in scored if trial.values["rank"] <= max_rank]
    return max(complete, key=lambda trial: (trial.score, -trial.number), default=None)


def chosen_values(best: Trial | None) -> dict[str, Any]:
    """Return the values to train with, none where the configured ones are best."""
    return dict(best.values) if best and best.number else {}


def conclusion(trials: Sequence[Trial], why: str, max_rank: int) -> str:
    """Return what a search found, in words. Trials above `max_rank` do not count."""
    best, seconds = best_of(trials, max_rank), sum(trial.seconds for trial in trials)
    begin = f"The search ended after {duration(seconds)}: {why}."
    if any(trial.values["rank"] > max_rank for trial in trials):
        begin += f" Trials with a rank above engine.max_lora_rank, now {max_rank}, do not count."
    if best is None or best.score is None:
        return f"{begin} No trial has a score, so the configured values stay."
    score = f"{best.score:.3f}"
    if best.number == 0:
        return f"{begin} No trial has a higher dev score than the configured values, {score}."
    first = trials[0].score
    before = "" if first is None else f", {first:.3f} with the configured values"
    return f"{begin} Trial {best.number} has the highest dev score, {score}{before}."
