"""The scheduler: APScheduler jobs that look at triggers, canaries and engines, and start cycles.

It owns when; what is done is the cycle's and the watch's business.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor as Pool
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from core.errors import SettingsError
from core.settings import Settings
from core.store import Store
from retrain.cycle import Cycle
from retrain.triggers import due

log = logging.getLogger(__name__)

# Until an engine that restarted is looked at, it serves no adapter.
ENGINE_SECONDS = 1.0


class Scheduler:
    """Starts runs by cron line or by new feedback; one run at a time on a machine."""

    def __init__(self, *, settings: Settings, store: Store, cycle: Cycle, watch: Callable[[], None],
                 reconcile: Callable[[], None]) -> None:  # fmt: skip
        self.settings = settings
        self.store = store
        self.cycle = cycle
        self._runs = ThreadPoolExecutor(1, thread_name_prefix="cycle")
        self._queued: dict[str, Future[str]] = {}
        # One thread: looks that would meet each other wait instead. Cycles have a thread of their own.
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": Pool(1), "engines": Pool(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 60},
        )
        seconds = settings.control.check_seconds
        looks = min(seconds, ENGINE_SECONDS)
        self._scheduler.add_job(reconcile, "interval", seconds=looks, id="reconcile", executor="engines",
                                next_run_time=datetime.now(UTC))  # fmt: skip
        self._scheduler.add_job(self.check, "interval", seconds=seconds, id="check")
        self._scheduler.add_job(watch, "interval", seconds=seconds, id="watch")
        for name, model in settings.models.items():
            if model.retrain.schedule:
                self._scheduler.add_job(self.start_run, _cron(name, model.retrain.schedule), id=f"cron:{name}",
                                        args=[name, f"schedule {model.retrain.schedule}"])  # fmt: skip

    def start(self) -> None:
        """Begins to look."""
        self._scheduler.start()

    def stop(self) -> None:
        """Looks no more, and ends the run under way."""
        self._scheduler.shutdown(wait=False)
        self._runs.shutdown(wait=False, cancel_futures=True)
        self.cycle.trainer.stop()

    def check(self) -> None:
        """Starts a run for each model whose new feedback suffices."""
        for name, model in self.settings.models.items():
            row = self.store.row("feedback_since", model=name) or {"n": 0}
            open_run = self.store.row("run_open_of", model=name)
            reason = due(row["n"], open_run["id"] if open_run else None, model.retrain)
            if reason:
                self.start_run(name, reason)

    def next_run(self, model: str) -> datetime | None:
        """When the cron line next starts a run of the model, or None where it has none."""
        job = self._scheduler.get_job(f"cron:{model}")
        # A job that waits for the scheduler's start has no time yet.
        return getattr(job, "next_run_time", None)

    def start_run(self, model: str, trigger: str, actor: str = "scheduler") -> bool:
        """Queues a run unless the model has one open; returns whether it did."""
        waiting = self._queued.get(model)
        if (waiting and not waiting.done()) or self.store.row("run_open_of", model=model):
            return False
        log.info("run for %s: %s", model, trigger)
        self._queued[model] = self._runs.submit(self.cycle.run, model, trigger, actor)
        return True


def _cron(model: str, line: str) -> CronTrigger:
    try:
        return CronTrigger.from_crontab(line, timezone="UTC")
    except ValueError as error:
        raise SettingsError(
            f"models.{model}.retrain.schedule: {line!r} is no cron line: {error}.",
            hint='Write minute, hour, day, month, weekday, e.g. "0 3 * * *".',
        ) from error
