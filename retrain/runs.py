"""Runs as the store has them: who asked for one, its state, and the progress of each phase."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.clock import Clock
from core.db import runs
from core.db.store import Row, Store
from retrain.trainer.job import Step
from rollout.change_writer import DecisionContext, RunState, set_run_state


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its model, and who or what started it."""

    id: str
    model: str
    trigger: str
    actor: str
    comment: str = ""

    def context(self, reason: str, **more: Any) -> DecisionContext:
        """The context of a decision on this run, with the actor and comment of its start."""
        return DecisionContext(reason, self.trigger, self.actor, self.comment, self.id, **more)

    def end(self, state: str, reason: str | None) -> RunState:
        """The state that ends this run."""
        return RunState(self.id, state, reason)


class Runs:
    """The rows of runs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(self, run: Run, state: str, feedback_until: datetime, version: int | None = None) -> None:
        """Add a run, with the version whose suites it measures if there is one."""
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

    def unfinished(self) -> list[tuple[Run, Row]]:
        """Each run that has not ended, with its row."""
        rows = runs.unfinished(self._store)
        return [(Run(row["id"], row["model"], row["trigger"], row["actor"], row["comment"]), row) for row in rows]

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

    def set_state(self, run: Run, state: str, reason: str | None = None) -> None:
        """Begin a phase of a run, or end a run without a decision."""
        with self._store.transaction() as transaction:
            set_run_state(transaction, RunState(run.id, state, reason), self._clock())

    def progress(self, run: Run, phase: str) -> Callable[[int, int], None]:
        """A callback that records the progress of a phase: every 50th step and the last."""
        record = self.steps(run, phase)

        def report(done: int, total: int) -> None:
            if done == total or done % 50 == 0:
                record(Step(done, total, {}))

        return report

    def steps(self, run: Run, phase: str) -> Callable[[Step], None]:
        """A callback that records each step of a phase with its metrics."""

        def record(step: Step) -> None:
            runs.add_metric(
                self._store,
                run_id=run.id,
                time=self._clock(),
                phase=phase,
                done=step.done,
                total=step.total,
                metrics=json.dumps(step.metrics),
            )

        return record
