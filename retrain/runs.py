"""Runs as the store has them: who asked for one, its state, and the progress of each phase."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.db import runs
from core.db.store import Row, Store
from retrain.progress import Estimate, describe
from retrain.trainer.job import Step
from rollout.change_writer import DecisionContext, RunState, set_run_state

log = logging.getLogger(__name__)
# Seconds between two lines of the log about one phase of a run.
TELL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its model, and who or what started it."""

    id: str
    model: str
    trigger: str
    actor: str
    comment: str = ""

    def context(self, reason: str, **more: Any) -> DecisionContext:
        """The context of a decision on this run, with the actor and comment of its start unless others are given."""
        of_start: dict[str, Any] = {"trigger": self.trigger, "actor": self.actor, "comment": self.comment}
        return DecisionContext(reason, run_id=self.id, **(of_start | more))

    def end(self, state: str, reason: str | None) -> RunState:
        """The state that ends this run."""
        return RunState(self.id, state, reason)


class Runs:
    """The rows of runs."""

    def __init__(self, store: Store, clock: Clock, folder: Path) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder

    def folder(self, run: Run) -> Path:
        """The folder of a run's job, checkpoint, log and adapter. It is there once the training began."""
        return self._folder / run.id

    def add(
        self,
        run: Run,
        state: str,
        feedback_until: datetime,
        version: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a run, with the version whose suites it measures if there is one, and with details."""
        with self._store.transaction() as transaction:
            runs.add(
                transaction,
                id=run.id,
                model=run.model,
                trigger=run.trigger,
                state=state,
                started=self._clock(),
                feedback_until=feedback_until,
            )
            runs.set_actor(transaction, id=run.id, actor=run.actor, comment=run.comment)
            if version is not None:
                runs.set_measured_version(transaction, id=run.id, candidate=version)
            if details:
                runs.set_detail(transaction, id=run.id, detail=json.dumps(details))

    def begin(self, run: Run, feedback_until: datetime, **details: Any) -> None:
        """Begin a run that was queued. It uses feedback that arrived until now."""
        runs.set_feedback_until(self._store, id=run.id, feedback_until=feedback_until)
        self.add_details(run, **details)
        self.set_state(run, "snapshot")

    def unfinished(self) -> list[tuple[Run, Row]]:
        """Each run that has not ended, with its row."""
        return [(_run(row), row) for row in runs.unfinished(self._store)]

    def find(self, identity: str) -> Run | None:
        """A run by its id."""
        row = runs.find(self._store, id=identity)
        return _run(row) if row else None

    def row(self, run: Run) -> Row:
        """The row of a run. Raises KeyError if there is none."""
        row = runs.find(self._store, id=run.id)
        if row is None:
            raise KeyError(run.id)
        return row

    def add_details(self, run: Run, **details: Any) -> None:
        """Add details to a run; a detail that it has already is replaced."""
        known = json.loads(self.row(run)["detail"])
        runs.set_detail(self._store, id=run.id, detail=json.dumps(known | details))

    def details(self, run: Run) -> dict[str, Any]:
        """The details of a run."""
        return dict(json.loads(self.row(run)["detail"]))

    def estimate(self, run: Run, steps: Mapping[str, int]) -> None:
        """Keep with a run, and log, how long its training will take, by the speed of an earlier one.

        `steps` are those of each objective.
        """
        found = Estimate(steps, runs.step_seconds(self._store, model=run.model))
        log.info("run %s of %s trains: %s", run.id, run.model, found.sentence)
        self.add_details(run, estimate={"steps": found.steps, "seconds": found.seconds, "text": found.sentence})

    def warn(self, run: Run, warning: str) -> None:
        """Keep a warning with a run, and log it."""
        log.warning("run %s of %s: %s", run.id, run.model, warning)
        self.add_details(run, warning=warning)

    def add_action(self, run: Run, action: str, actor: str, comment: str, **details: Any) -> None:
        """Keep with a run who paused, resumed or cancelled it, and other details."""
        done = {"time": self._clock().isoformat(), "action": action, "actor": actor, "comment": comment}
        self.add_details(run, actions=[*self.details(run).get("actions", []), done], **details)

    def set_state(self, run: Run, state: str, reason: str | None = None) -> None:
        """Begin a phase of a run, or end a run without a decision."""
        with self._store.transaction() as transaction:
            set_run_state(transaction, RunState(run.id, state, reason), self._clock())

    def progress(self, run: Run, phase: str) -> Callable[[int, int], None]:
        """A callback that records the progress of a phase: every 50th step and the last."""
        record, began, first, last = self.steps(run, phase), self._clock(), 0, 0

        def report(done: int, total: int) -> None:
            nonlocal began, first, last
            if done <= last or not last:  # the first step of the phase, or of a further part of it
                began, first = self._clock(), done
            last = done
            if done == total or done % 50 == 0:
                seconds = (self._clock() - began).total_seconds()
                left = {"seconds_left": round(seconds / (done - first) * (total - done), 1)} if done > first else {}
                record(Step(done, total, left))

        return report

    def steps(self, run: Run, phase: str) -> Callable[[Step], None]:
        """A callback that records each step of a phase with its metrics."""

        told: datetime | None = None

        def record(step: Step) -> None:
            nonlocal told
            now = self._clock()
            if told is None or step.done == step.total or (now - told).total_seconds() >= TELL_SECONDS:
                told = now
                log.info("run %s of %s: %s", run.id, run.model, describe(phase, step))
            runs.add_metric(
                self._store,
                run_id=run.id,
                time=now,
                phase=phase,
                done=step.done,
                total=step.total,
                metrics=json.dumps(step.metrics),
            )

        return record


def _run(row: Row) -> Run:
    return Run(row["id"], row["model"], row["trigger"], row["actor"], row["comment"])
