"""The scheduler: APScheduler jobs that check triggers, live tests and engines, and start runs."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor as Pool
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from core.db import runs, schedules
from core.db.store import Store
from core.errors import RunInProgress
from core.settings import ModelSettings, Settings
from retrain.cron import count_missed, parse_cron
from retrain.pipeline import RetrainPipeline
from retrain.run_states import PAUSED
from retrain.triggers import count_new, reason_to_start
from rollout.workflow import RolloutWorkflow

log = logging.getLogger(__name__)

# Seconds between checks of the engines: an engine that restarted serves no adapter before the next one.
ENGINE_SECONDS = 1.0
CRON = "cron:"
# Longest wait for the run under way when control ends: for its step, and for its checkpoint.
STOP_SECONDS = 10.0


class Scheduler:
    """Starts runs by cron line or by new feedback; one run at a time on a machine."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        pipeline: RetrainPipeline,
        steps: RolloutWorkflow,
        watch: Callable[[], None],
        reconcile: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.store = store
        self.pipeline = pipeline
        self.steps = steps
        self._runs = ThreadPoolExecutor(1, thread_name_prefix="run")
        # Work per model that is queued or in progress. The lock is held from the check to the queueing.
        self._work: Counter[str] = Counter()
        self._lock = threading.Lock()
        # One thread per executor, so that two checks never overlap. Runs have their own thread.
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": Pool(1), "engines": Pool(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 60},
        )
        seconds = settings.control.check_seconds
        looks = min(seconds, ENGINE_SECONDS)
        self._scheduler.add_job(
            reconcile, "interval", seconds=looks, id="reconcile", executor="engines", next_run_time=datetime.now(UTC)
        )
        self._scheduler.add_job(self.check, "interval", seconds=seconds, id="check")
        self._scheduler.add_job(watch, "interval", seconds=seconds, id="watch")
        self._plan(_crons(settings))

    def take(self, settings: Settings) -> None:
        """Goes on by other settings. Raises SettingsError before anything changed."""
        crons = _crons(settings)
        seconds = settings.control.check_seconds
        if seconds != self.settings.control.check_seconds:
            for job in ("check", "watch"):
                self._scheduler.reschedule_job(job, trigger="interval", seconds=seconds)
            self._scheduler.reschedule_job("reconcile", trigger="interval", seconds=min(seconds, ENGINE_SECONDS))
        self.settings = settings
        self._plan(crons)
        for model, (trigger, line) in crons.items():
            self._note_due(model, trigger, line)

    def _plan(self, crons: dict[str, tuple[BaseTrigger, str]]) -> None:
        """Schedule these cron lines and remove others. An unchanged line keeps its next time."""
        standing = {job.id: job for job in self._scheduler.get_jobs() if job.id.startswith(CRON)}
        wanted = {CRON + name: (trigger, [name, f"schedule {line}"]) for name, (trigger, line) in crons.items()}
        for identity, job in standing.items():
            if identity in wanted and list(job.args) == wanted[identity][1]:
                del wanted[identity]
            else:
                job.remove()
        for identity, (trigger, args) in wanted.items():
            # However late it is, it starts one run: a machine that slept has missed nothing.
            self._scheduler.add_job(self._start_due, trigger, id=identity, args=args, misfire_grace_time=None)

    def start(self) -> None:
        """Begins to look, and catches up once on what each schedule missed while control did not run."""
        self._scheduler.start()
        for model, (trigger, line) in _crons(self.settings).items():
            missed = self._count_missed(model, trigger, line)
            self._note_due(model, trigger, line)
            if missed:
                times = "once" if missed == 1 else f"{missed:,} times"
                log.warning("the schedule of %s was due %s while control did not run", model, times)
                self.propose(model, f"schedule {line}, due {times} while control did not run")

    def _count_missed(self, model: str, trigger: BaseTrigger, line: str) -> int:
        """How often a cron line was due since it was last seen; a line that is new has missed nothing."""
        last = schedules.find(self.store, model=model)
        return count_missed(trigger, last.due, self.pipeline.clock()) if last and last.line == line else 0

    def _note_due(self, model: str, trigger: BaseTrigger, line: str) -> None:
        due = trigger.get_next_fire_time(None, self.pipeline.clock())
        if due is not None:
            schedules.put(self.store, model=model, line=line, due=due)

    def _start_due(self, model: str, trigger: str) -> None:
        """Start the run of a schedule that is due."""
        if found := _crons(self.settings).get(model):
            self._note_due(model, *found)
        self.propose(model, trigger)

    @contextmanager
    def reserve(self, model: str) -> Iterator[Callable[[Callable[[], Any]], None]]:
        """Reserve a model and yield a function that queues work on it; nobody else starts work until the block ends.

        Raises RunInProgress while a run of the model is open, or work on it is queued.
        """
        with self._lock:
            run = runs.unfinished_of(self.store, model=model)
            if run and run["state"] == PAUSED:
                hint = f"Resume or cancel it: loraloop runs resume {run['id']}, loraloop runs cancel {run['id']}"
                raise RunInProgress(f"A run of {model} is paused.", hint=hint)
            if run or self._work[model]:
                raise RunInProgress(f"A run of {model} is under way.", hint=f"See: loraloop runs {model}")
            yield partial(self._queue, model)

    def _queue(self, model: str, work: Callable[[], Any]) -> None:
        self._work[model] += 1
        self._runs.submit(self._done, model, work)

    def _done(self, model: str, work: Callable[[], Any]) -> None:
        """Does queued work; what broke off is logged, and leaves no run open that would block the next."""
        try:
            work()
        except Exception as error:
            log.exception("a run of %s broke off", model)
            self._give_up(model, error)
        finally:
            with self._lock:
                self._work[model] -= 1

    def _give_up(self, model: str, error: Exception) -> None:
        try:
            self.pipeline.give_up(model, error)
        except Exception:
            log.exception("a run of %s stays open until control restarts", model)

    def run_alone(self, work: Callable[[], None]) -> Future[None]:
        """Queue work that no run overlaps: it waits for the runs that are queued, and later ones wait for it."""
        return self._runs.submit(work)

    def plan_job(self, identity: str, line: str | None, job: Callable[[], None]) -> None:
        """Plan a job by a cron line instead of by the line before; None plans it no more. Raises SettingsError."""
        trigger = parse_cron(f"{identity}.schedule", line) if line else None
        if self._scheduler.get_job(identity):
            self._scheduler.remove_job(identity)
        if trigger:
            self._scheduler.add_job(job, trigger, id=identity)

    def resume(self) -> None:
        """Queues what a stopped control left half-way and can be taken up."""
        with self._lock:
            for run in self.pipeline.recover():
                self._queue(run.model, partial(self.pipeline.execute, run))

    def continue_run(self, identity: str, actor: str, comment: str) -> None:
        """Queue a paused run. It goes on at its last checkpoint. Raises NotFound or NotReady."""
        with self._lock:
            run = self.pipeline.interruptions.release(identity, actor, comment)
            self._queue(run.model, partial(self.pipeline.execute, run))

    def stop(self) -> None:
        """Looks no more, and interrupts the run under way, so that the next start continues it."""
        self._scheduler.shutdown(wait=False)
        self._runs.shutdown(wait=False, cancel_futures=True)
        self.pipeline.interruptions.stop(STOP_SECONDS)
        self.pipeline.trainer.stop()

    def check(self) -> None:
        """Starts a run for each model whose new feedback suffices and whose last run has ended."""
        busy = {run["model"] for run in runs.unfinished(self.store)}
        for name, model in self.settings.models.items():
            if name in busy:
                continue
            reason = reason_to_start(count_new(self.store, name, model, least=model.retrain.min_new_feedback), model)
            if reason:
                self.propose(name, reason)

    def propose(self, model: str, trigger: str) -> None:
        """Start a run unless the limits would block its candidate. People start runs with `start_run`."""
        if self.steps.may_begin(model, trigger):
            with suppress(RunInProgress):  # a person was first, or the last run goes on
                self.start_run(model, trigger)

    def next_run(self, model: str) -> datetime | None:
        """When the cron line next starts a run of the model, or None where it has none."""
        job = self._scheduler.get_job(f"cron:{model}")
        # A job that waits for the scheduler's start has no time yet.
        return getattr(job, "next_run_time", None)

    def start_run_after(
        self,
        model: str,
        prepare: Callable[[], bool],
        *,
        trigger: str,
        actor: str,
        comment: str,
        settings: ModelSettings,
    ) -> str | None:
        """Queue a run with these settings after `prepare`, during which no other run of the model starts.

        Returns its id, or None where `prepare` returns False. Raises RunInProgress while the model has a run.
        """
        with self.reserve(model):
            self._work[model] += 1
        try:
            if not prepare():
                return None
            with self._lock:
                run = self.pipeline.queue(model, trigger, actor, comment, settings)
                self._queue(model, partial(self.pipeline.execute, run))
            log.info("run %s of %s is queued: %s", run.id, model, trigger)
            return run.id
        finally:
            with self._lock:
                self._work[model] -= 1

    def start_run(self, model: str, trigger: str, actor: str = "scheduler", comment: str = "") -> str:
        """Queues a run and returns its id. Raises RunInProgress while the model has one."""
        with self.reserve(model) as queue:
            run = self.pipeline.queue(model, trigger, actor, comment)
            log.info("run %s of %s is queued: %s", run.id, model, trigger)
            queue(partial(self.pipeline.execute, run))
            return run.id


def _crons(settings: Settings) -> dict[str, tuple[BaseTrigger, str]]:
    """(trigger, cron line) by model. Raises SettingsError."""
    lines = {name: model.retrain.schedule for name, model in settings.models.items()}
    return {name: (parse_cron(f"models.{name}.retrain.schedule", line), line) for name, line in lines.items() if line}
