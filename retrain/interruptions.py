"""Interrupt runs: people cancel or pause them, and the run's own thread carries it out at its next step.

A request is kept with its run, so that it also holds after control restarts. It must not know HTTP.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from core.db.store import Row
from core.errors import AlreadyDone, NotFound, NotReady
from core.records import Verdict
from retrain.run_states import CANCELLED, MEASURING, PAUSED, QUEUED, STATES
from retrain.runs import Run, Runs
from retrain.trainer.job import ADAPTER, CHECKPOINT, TRIALS
from rollout.promotion import RouteManager

log = logging.getLogger(__name__)
INTERRUPTION = "interruption"
Kind = Literal["cancel", "pause"]
STATE_AFTER: dict[Kind, str] = {"pause": PAUSED, "cancel": CANCELLED}


class Trains(Protocol):
    """What an interruption needs of the trainer."""

    def interrupt(self, run_id: str, *, save: bool) -> None:
        """End the training of a run, with a checkpoint if `save`."""
        ...


@dataclass(frozen=True, slots=True)
class Interruption:
    """What a person asks of a run, and why."""

    kind: Kind
    actor: str
    comment: str = ""


class RunInterrupted(Exception):
    """A person asked to cancel or pause the run. The run's thread carries it out."""


class Interruptions:
    """Requests to cancel or pause runs, at most one per run, and which runs are being worked on."""

    def __init__(self, *, runs: Runs, promotion: RouteManager, trainer: Callable[[], Trains]) -> None:
        self._runs = runs
        self._promotion = promotion
        self._trainer = trainer
        self._wanted: dict[str, Interruption] = {}
        self._working: set[str] = set()
        self._stopping = False
        self._changed = threading.Condition()

    def request(self, identity: str, wanted: Interruption, wait_s: float) -> Row:
        """Cancel or pause a run, and return its row once that is done, or after `wait_s` seconds.

        Raises NotFound; AlreadyDone for a run that has ended, or that somebody else cancels or pauses already;
        NotReady for a run that cannot be paused or cancelled now.
        """
        with self._changed:
            run = self._check_request(identity, wanted)
            self._wanted[identity] = wanted
            self._runs.add_details(run, **{INTERRUPTION: asdict(wanted)})
            working = identity in self._working
            if not working:
                self.carry_out(run)
        if working:
            self._trainer().interrupt(identity, save=wanted.kind == "pause")
            with self._changed:
                self._changed.wait_for(lambda: identity not in self._working, wait_s)
        row = self._runs.row(run)
        if row["state"] != STATE_AFTER[wanted.kind] and identity not in self._working:
            raise AlreadyDone(f"Run {identity} ended before that: it is {row['state']}.", hint=row["reason"] or "")
        return row

    def stop(self, wait_s: float) -> None:
        """Interrupt every run because control ends. The next start continues them. Waits at most `wait_s` seconds."""
        with self._changed:
            self._stopping = True
            working = list(self._working)
        for identity in working:
            self._trainer().interrupt(identity, save=True)
        with self._changed:
            self._changed.wait_for(lambda: not self._working, wait_s)

    def release(self, identity: str, actor: str, comment: str) -> Run:
        """Queue a paused run again, and return it. Raises NotFound, or NotReady for a run that is not paused."""
        with self._changed:
            run = self._runs.find(identity)
            if run is None:
                raise NotFound("run", identity, hint="See: loraloop runs")
            state = self._runs.row(run)["state"]
            if state != PAUSED:
                raise NotReady(f"Run {identity} is not paused: it is {state}.", hint="See: loraloop runs")
            self._runs.set_state(run, QUEUED)
            self._runs.add_action(run, "resume", actor, comment)
            return run

    def check(self, run: Run) -> None:
        """Raise RunInterrupted where somebody asked to cancel or pause the run, or control ends."""
        if self._stopping or run.id in self._wanted:
            raise RunInterrupted(run.id)

    def checked(self, run: Run, progress: Callable[..., None]) -> Callable[..., None]:
        """Return a callback of progress that raises RunInterrupted where the run is to be interrupted."""

        def report(*about: Any) -> None:
            self.check(run)
            progress(*about)

        return report

    def checked_training(self, run: Run, progress: Callable[..., None]) -> Callable[..., None]:
        """Return a callback of a training's progress that ends the training where the run is to be interrupted.

        It raises nothing: for a pause, the trainer ends after its step, with a checkpoint.
        """

        def report(*about: Any) -> None:
            progress(*about)
            wanted = self._wanted.get(run.id)
            if wanted or self._stopping:
                self._trainer().interrupt(run.id, save=wanted is None or wanted.kind == "pause")

        return report

    @contextmanager
    def working(self, run: Run) -> Iterator[bool]:
        """Mark a run as being worked on. Yields False where it was cancelled or paused before."""
        with self._changed:
            row = self._runs.row(run)
            free = not row["finished"] and row["state"] != PAUSED
            if free:
                self._working.add(run.id)
        try:
            yield free
        finally:
            with self._changed:
                if run.id in self._wanted and self._runs.row(run)["state"] == PAUSED:
                    self.carry_out(run)  # somebody cancelled it while it was being paused
                self._wanted.pop(run.id, None)
                self._working.discard(run.id)
                self._changed.notify_all()

    def restore(self, run: Run) -> bool:
        """Carry out a request from before control stopped. Returns False without one."""
        kept = self._runs.details(run).get(INTERRUPTION)
        if not kept:
            return False
        self._wanted[run.id] = Interruption(**kept)
        return self.carry_out(run)

    def carry_out(self, run: Run) -> bool:
        """End or pause the run as somebody asked. Returns False where nobody did.

        Where control ends, the run stays as it is, and the next start continues it.
        """
        with self._changed:
            wanted = self._wanted.pop(run.id, None)
            if wanted is None:
                if self._stopping:
                    log.info("run %s of %s continues when control starts again", run.id, run.model)
                    self._runs.add_details(run, cuts=self._runs.details(run).get("cuts", 0) - 1)
                return self._stopping
            if wanted.kind == "pause":
                self._runs.set_state(run, PAUSED)
            else:
                self._cancel(run, wanted)
            self._runs.add_action(run, wanted.kind, wanted.actor, wanted.comment, **{INTERRUPTION: None})
            return True

    def _cancel(self, run: Run, wanted: Interruption) -> None:
        """End a run with a decision, and remove its checkpoint and its adapter. Its log and its report stay."""
        row, folder = self._runs.row(run), self._runs.folder(run)
        reason = f"Cancelled by {wanted.actor}. The run was {row['state'].replace('_', ' ')}."
        context = run.context(reason, actor=wanted.actor, comment=wanted.comment)
        end = run.end(CANCELLED, reason)
        self._promotion.record_decision(run.model, row["candidate"], Verdict.CANCELLED, context, run=end)
        for name in (CHECKPOINT, f"{CHECKPOINT}.part"):
            (folder / name).unlink(missing_ok=True)
        for name in (ADAPTER, TRIALS):
            shutil.rmtree(folder / name, ignore_errors=True)

    def _check_request(self, identity: str, wanted: Interruption) -> Run:
        run = self._runs.find(identity)
        if run is None:
            raise NotFound("run", identity, hint="See: loraloop runs")
        row, asked = self._runs.row(run), self._wanted.get(identity)
        if row["finished"]:
            raise AlreadyDone(f"Run {identity} has ended: it is {row['state']}.", hint=row["reason"] or "")
        if asked and not (asked.kind == "pause" and wanted.kind == "cancel"):
            raise AlreadyDone(f"{asked.actor} asked to {asked.kind} run {identity} already.")
        if instead := STATES[row["state"]].instead:
            raise NotReady(f"The training of run {identity} has ended.", hint=instead.format(model=run.model))
        if wanted.kind == "pause" and row["state"] == PAUSED:
            raise AlreadyDone(f"Run {identity} is paused already.", hint=f"Do: loraloop runs resume {identity}")
        if wanted.kind == "pause" and row["state"] == MEASURING:
            raise NotReady("A measurement cannot be paused.", hint=f"Do: loraloop runs cancel {identity}")
        return run
