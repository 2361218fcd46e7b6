"""Runs: what is written down of a cycle while it is under way.

It owns a run's rows: who asked for it and why, its state, how far each phase is. It must not know what a phase does.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.clock import Clock
from core.db import runs
from core.db.store import Store, Transaction
from retrain.trainer.job import Step
from rollout.routes import DecisionContext


@dataclass(frozen=True, slots=True)
class Run:
    """A cycle under way."""

    id: str
    model: str
    trigger: str
    actor: str
    comment: str = ""

    def why(self, reason: str, **more: Any) -> DecisionContext:
        """What the ledger keeps of a decision on this run: who asked for it, and what they said."""
        return DecisionContext(reason, self.trigger, self.actor, self.comment, self.id, **more)


class Runs:
    """The store's rows of runs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(self, run: Run, state: str, feedback_until: datetime, version: int | None = None) -> None:
        """Writes a run down, with the version that it is about if there is one already."""
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

    def open(self) -> list[tuple[Run, dict[str, Any]]]:
        """Each run that has not ended, with its row."""
        rows = runs.unfinished(self._store)
        return [(Run(row["id"], row["model"], row["trigger"], row["actor"], row["comment"]), row) for row in rows]

    def detail(self, run: Run, **found: Any) -> None:
        """Keeps beside a run what was found out in it."""
        runs.set_detail(self._store, id=run.id, detail=json.dumps(found))

    def state(self, run: Run, state: str, reason: str | None = None) -> None:
        """The step that begins, or the end of a run that decides nothing."""
        runs.set_state(self._store, id=run.id, state=state, time=self._clock(), reason=reason)

    def closing(self, run: Run, state: str, reason: str | None) -> Callable[[Transaction], None]:
        """Its end, for the transaction of its decision."""
        return lambda transaction: runs.set_state(
            transaction, id=run.id, state=state, time=self._clock(), reason=reason
        )

    def progress(self, run: Run, phase: str) -> Callable[[int, int], None]:
        """Writes down how far a phase is, now and then."""
        keep = self.steps(run, phase)

        def tell(done: int, total: int) -> None:
            if done == total or done % 50 == 0:
                keep(Step(done, total, {}))

        return tell

    def steps(self, run: Run, phase: str) -> Callable[[Step], None]:
        """Writes down each step of a phase with what was measured in it."""

        def keep(step: Step) -> None:
            runs.add_metric(
                self._store,
                run_id=run.id,
                time=self._clock(),
                phase=phase,
                done=step.done,
                total=step.total,
                metrics=json.dumps(step.metrics),
            )

        return keep
