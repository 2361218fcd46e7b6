"""Carry out fine-tuning jobs: check the file, import its examples as feedback, and queue a run on the model.

A job goes through the gates of its model like every run. It must not know HTTP.
"""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from itertools import islice
from typing import Any

from core.clock import new_id
from core.db import fine_tuning
from core.db.store import Row
from core.errors import AlreadyDone, InputError, LoraLoopError, NotFound, NotReady, RunInProgress
from feedback import importer
from feedback.formats.metrics import Metrics
from feedback.formats.source import Target
from ops import views
from ops.actions import Actions, By
from ops.background_work import BackgroundWork
from ops.control import Control
from ops.fine_tuning.examples import FEWEST, Records, check_file, read_examples
from ops.fine_tuning.files import UploadedFiles
from ops.fine_tuning.request import JobRequest, settings_of_job
from retrain.interruptions import Kind

log = logging.getLogger(__name__)
# Seconds between two attempts to start the run of a job whose model is busy.
RETRY_SECONDS = 1.0
EXAMPLES_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """A job with the run that it has become, if it has, as `views.run` shows it."""

    row: Row
    run: views.View | None

    @property
    def request(self) -> JobRequest:
        """What the job asks for."""
        return JobRequest.model_validate(self.row["request"])


class FineTuningJobs:
    """Jobs by OpenAI's API. One thread checks and imports files, and starts runs."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._store = control.store
        self.files = UploadedFiles(store=control.store, data=control.settings.data, clock=control.clock)
        self._actions = Actions(control)
        self._lock = threading.Lock()
        self._background = BackgroundWork("fine-tuning jobs", self.advance, RETRY_SECONDS)

    def start(self) -> None:
        """Continue jobs that a stopped control left, and wait for others."""
        self.files.clean()
        self._background.start()

    def stop(self) -> None:
        """End after the step that is under way."""
        self._background.stop()

    def create(self, request: JobRequest, actor: str) -> Job:
        """Add a job. Raises NotFound or InputError that names the field."""
        self._control.promotion.route(request.model)
        settings_of_job(request, views.settings_of(self._control, request.model))
        file = self.files.find(request.training_file)
        if file["model"] not in (None, request.model):
            raise InputError(f"training_file: was uploaded for {file['model']}.", field="training_file")
        identity = new_id("ftjob")
        fine_tuning.add_job(
            self._store,
            id=identity,
            time=self._control.clock(),
            model=request.model,
            file_id=request.training_file,
            actor=actor,
            request=request.model_dump(mode="json", exclude_none=True),
        )
        self._background.ask()
        return self.find(identity)

    def find(self, identity: str) -> Job:
        """One job. Raises NotFound."""
        row = fine_tuning.find_job(self._store, id=identity)
        if row is None:
            raise NotFound("fine-tuning job", identity, hint="See: GET /v1/fine_tuning/jobs")
        return self._with_run(row)

    def page(self, *, model: str | None, metadata: dict[str, str], after: str | None, limit: int) -> list[Job]:
        """One page of jobs, newest first."""
        found = fine_tuning.jobs(self._store, model=model, metadata=metadata, after=after, limit=limit)
        return [self._with_run(row) for row in found]

    def interrupt(self, identity: str, kind: Kind, by: By) -> Job:
        """Cancel or pause a job. Raises NotFound, AlreadyDone, or NotReady where it cannot be done now."""
        with self._lock:
            job = self.find(identity)
            if job.row["finished"]:
                raise AlreadyDone(f"Job {identity} has ended: it is {job.row['state']}.")
            if job.run is None and kind == "pause":
                raise NotReady("A job is paused when its run is queued.", hint="Try again, or cancel it.")
            if job.run is None:
                fine_tuning.end_job(self._store, id=identity, state="cancelled", time=self._control.clock())
                return self.find(identity)
        self._actions.interrupt_run(job.row["run_id"], kind, by)
        return self.find(identity)

    def resume(self, identity: str, by: By) -> Job:
        """Continue a paused job. Raises NotFound, or NotReady if it is not paused."""
        job = self.find(identity)
        if job.run is None:
            raise NotReady(f"Job {identity} is not paused.")
        self._actions.resume_run(job.row["run_id"], by)
        return self.find(identity)

    def advance(self) -> bool:
        """Bring each pending job further. Returns whether one waits for its model."""
        waits = False
        for row in fine_tuning.pending(self._store):
            if self._background.stopped.is_set():
                break
            try:
                self._advance(row)
            except RunInProgress:
                waits = True
            except LoraLoopError as error:
                self._fail(row, "invalid_training_file" if isinstance(error, InputError) else error.code, str(error))
            except Exception as error:
                log.exception("fine-tuning job %s", row["id"])
                self._fail(row, "internal_error", f"An unexpected error: {error}")
        return waits

    def _advance(self, row: Row) -> None:
        request = JobRequest.model_validate(row["request"])
        settings = settings_of_job(request, views.settings_of(self._control, request.model))
        path, target = self.files.content(row["file_id"]), self._target(row)
        if row["state"] == "checking":
            count = check_file(path, target, request.type)
            if count < FEWEST:
                raise InputError(f"The file has {count} examples; a job needs {FEWEST}.", field="training_file")
            fine_tuning.set_checked(self._store, id=row["id"], time=self._control.clock(), examples=count)
        trigger = f"fine-tuning job {row['id']}"
        with self._lock:
            started = fine_tuning.run_of_trigger(self._store, model=request.model, trigger=trigger)
        run_id = started or self._control.scheduler.start_run_after(
            request.model,
            lambda: self._import(row["id"], read_examples(path, target, request.type)),
            trigger=trigger,
            actor=row["actor"],
            comment=request.suffix or "",
            settings=settings,
        )
        if run_id:
            fine_tuning.set_run(self._store, id=row["id"], run_id=run_id)

    def _import(self, identity: str, examples: Iterator[Records]) -> bool:
        """Import the examples. Returns whether the job still needs its run. The same example is never added twice."""
        while batch := list(islice(examples, EXAMPLES_AT_ONCE)):
            if self._is_over(identity):
                return False
            refused = importer.take(self._store, [record for records in batch for record in records]).refused
            if refused:
                raise InputError(f"The store refuses an example: {refused[0][1]}", field="training_file")
        return not self._is_over(identity)

    def _is_over(self, identity: str) -> bool:
        return self._background.stopped.is_set() or self.find(identity).row["finished"] is not None

    def _target(self, row: Row) -> Target:
        settings = self._control.settings
        labels = tuple(settings.models[row["model"]].labels)
        metrics = Metrics.of(settings.gateway.metrics, labels)
        return Target(row["model"], labels, metrics, row["time"].astimezone(UTC))

    def _fail(self, row: Row, code: str, message: str) -> None:
        log.warning("fine-tuning job %s of %s failed: %s", row["id"], row["model"], message)
        error: dict[str, Any] = {"code": code, "message": message, "param": "training_file"}
        fine_tuning.end_job(self._store, id=row["id"], state="failed", time=self._control.clock(), error=error)

    def _with_run(self, row: Row) -> Job:
        return Job(row, views.run(self._store, row["run_id"]) if row["run_id"] else None)
