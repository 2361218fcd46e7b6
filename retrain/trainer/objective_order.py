"""Train by the objectives of a job in their order: mostly one, or SFT and then DPO with the adapter that SFT made.

Both have one folder and one checkpoint. The reference of DPO is the base model, with SFT before it too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import TooFewRows
from retrain.trainer.batches import Example, order_examples, steps_of
from retrain.trainer.dev import MOST_ROWS, DevPart
from retrain.trainer.dev_score import LEAST_ROWS, choose_score
from retrain.trainer.examples import Examples
from retrain.trainer.job import Job, Step
from retrain.trainer.loop import Loop
from retrain.trainer.objectives import Scored, choose_objective
from retrain.trainer.pause import EXIT_CODE, PauseRequest
from retrain.trainer.rendering import Renderer
from retrain.trainer.replay import Replay

Say = Callable[[str], None]
"""Writes a line to the trainer's log."""


@dataclass(frozen=True, slots=True)
class JobExamples:
    """A job with one objective, the snapshot that it reads, and its train examples. Rows left out are by reason."""

    job: Job
    data: Examples
    examples: list[Example]
    left_out: dict[str, int]

    @property
    def shortage(self) -> str | None:
        """Why the train examples are too few, None if they are enough."""
        count, job = len(self.examples), self.job
        if count >= max(1, job.min_rows):
            return None
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.left_out.items())
        found = f"{count} {job.unit} of the train split can be trained on; {job.min_rows} are needed"
        return found + (f" (left out: {reasons})." if reasons else ".")


def read_in_order(job: Job, renderer: Renderer, say: Say) -> tuple[list[JobExamples], str | None]:
    """Return the examples of each objective of a job, and why its second one is left out, None if it is not.

    Raises TooFewRows where the first has too few. A second one with too few costs no candidate.
    """
    first, *others = (_read_one(one, renderer, say) for one in job.in_order)
    if first.shortage:
        raise TooFewRows(first.shortage)
    lacking = next((f"No {one.job.objective.upper()} followed: {one.shortage}" for one in others if one.shortage), None)
    if lacking:
        say(lacking)
        return [first], lacking
    return [first, *others], None


def _read_one(job: Job, renderer: Renderer, say: Say) -> JobExamples:
    data = Examples(job)
    examples, left_out = data.render(renderer)
    say(f"{len(examples)} {job.unit} to train on by {job.objective.upper()}. Left out: {left_out or 'none'}.")
    return JobExamples(job, data, order_examples(examples, job.seed), left_out)


class OrderProgress:
    """Reports the steps of all objectives as steps of one training, with the objective of each if there are two."""

    def __init__(self, report: Callable[[Step], None], steps: Sequence[tuple[str, int]]) -> None:
        """`steps` are the objectives in order, with the number of steps of each."""
        self._report = report
        self._steps = steps
        self._pace = 0.0
        self._seconds = 0.0

    def of_objective(self, place: int) -> Callable[[Step], None]:
        """Return a callback for the steps of an objective, counted from 0.

        The time left is of all objectives, at the pace of this one.
        """
        if len(self._steps) == 1:
            return self._report
        counts = [count for _, count in self._steps]
        done, later = sum(counts[:place]), sum(counts[place + 1 :])
        spent: float | None = None

        def report(step: Step) -> None:
            nonlocal spent
            spent = self._seconds if spent is None else spent
            if step.done < step.total:
                self._pace = step.metrics["seconds_left"] / (step.total - step.done)
            self._seconds = round(spent + step.metrics["seconds"], 1)
            left = round(step.metrics["seconds_left"] + later * self._pace, 1)
            metrics = step.metrics | {
                "seconds": self._seconds,
                "seconds_left": left,
                "objective": self._steps[place][0],
            }
            self._report(Step(done + step.done, sum(counts), metrics))

        return report


def train_in_order(
    jobs: Sequence[JobExamples],
    scored: Scored,
    renderer: Renderer,
    *,
    replay: Replay | None,
    report: Callable[[Step], None],
    say: Say,
) -> list[dict[str, Any] | None]:
    """Train the adapter objective by objective, and return the report of each one's dev part, None without one.

    Raises TrainingFailed. A training that continues in its second objective does not repeat the first.
    """
    progress = OrderProgress(
        report, [(one.job.objective.upper(), len(steps_of(one.job, len(one.examples)))) for one in jobs]
    )
    loops: list[Loop] = []
    for place, one in enumerate(jobs):
        loops.append(
            Loop(
                one.job,
                scored,
                choose_objective(one.job, scored, one.examples),
                one.examples,
                report=progress.of_objective(place),
                dev=dev_part(one, scored, renderer, say),
                replay=replay,
                after=loops[-1].identity if loops else "",
            )
        )
    *before, last = loops
    found: list[dict[str, Any] | None] = []
    with PauseRequest() as pause:
        for first in before:
            if begun := last.find_begun():
                found.append(json.loads(begun.before))
                continue
            found.append(first.run(pause))
            last.begin(found[-1])
            if pause.asked:  # in the last step of the first, which has written no checkpoint of its own
                raise SystemExit(EXIT_CODE)
        return [*found, last.run(pause)]


def dev_part(one: JobExamples, scored: Scored, renderer: Renderer, say: Say) -> DevPart | None:
    """Return the dev part of the snapshot, None where it is switched off or has too few rows."""
    job, data = one.job, one.data
    if job.dev_steps is None and not job.scores:
        return None
    examples = order_examples(data.render(renderer, "dev")[0], job.seed)[:MOST_ROWS]
    if len(examples) < LEAST_ROWS:
        say(f"No dev part: {len(examples)} dev {job.unit}, {LEAST_ROWS} are needed. The last weights are kept.")
        return None
    if job.dev_steps:
        say(f"The loss on {len(examples)} dev {job.unit} is measured every {job.dev_steps} steps.")
    kpi = choose_score(job, scored, data, renderer)
    if kpi:
        say(f"The dev part is scored by {kpi.kpi.replace('_', ' ')} on {kpi.rows} rows.")
    return DevPart(examples, choose_objective(job, scored, examples), scored, kpi)


def report_of_second(
    jobs: Sequence[JobExamples], dev: Sequence[Mapping[str, Any] | None], lacking: str | None
) -> dict[str, Any] | None:
    """Return what a training says of its second objective, None if it was to have one objective."""
    if lacking:
        return {"skipped": lacking}
    if len(jobs) == 1:
        return None
    return {"rows": len(jobs[1].examples), "left_out": jobs[1].left_out, "dev": dev[1]}
