"""Make the learning curve of a run: one training per share of the rows, which continue like any training.

It decides by the dev part; it must not use the holdout, and the candidate's training does not depend on it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.db import runs as runs_table
from core.db.store import Store
from core.errors import TrainingFailed
from feedback.snapshot import Snapshot
from retrain.interruptions import Interruptions
from retrain.job_settings import count_rows
from retrain.progress import share_words
from retrain.runs import Run, Runs
from retrain.search.learning_curve import RESAMPLES, SHARES, Point, conclusion, gain_of, plan_curve
from retrain.search.trial_folders import delete_weights, trial_folder
from retrain.step_results import Work
from retrain.trainer.job import REPORT, Job, Report
from retrain.trainer.process import Trainer

log = logging.getLogger(__name__)


class CurveTrainings:
    """Learning curves of runs. Each is kept in the details of its run, with its cost."""

    def __init__(
        self,
        *,
        store: Store,
        runs: Runs,
        interruptions: Interruptions,
        trainer: Callable[[], Trainer],
        clock: Clock,
    ) -> None:
        self._store = store
        self._runs = runs
        self._interruptions = interruptions
        self._trainer = trainer
        self._clock = clock

    def make(self, work: Work, job: Job, snapshot: Snapshot) -> None:
        """Make a curve for the job of a run if the settings ask for it. Continues one that was cut short.

        Raises RunInterrupted. A training that fails is kept as such, and the run goes on.
        """
        run, known = work.run, self._known(work.run)
        if not known:
            rows = count_rows(job, snapshot)
            plan = plan_curve(
                work.settings.retrain.learning_curve,
                runs_table.last_curve_rows(self._store, model=work.model, method=job.objective),
                method=job.objective,
                rows=rows,
                dev_rows=count_rows(job, snapshot, "dev"),
            )
            if not plan.reason:
                return
            log.info("run %s of %s: %s", run.id, run.model, plan.reason)
            self._keep(run, reason=plan.reason)
            if plan.makes:
                self._keep(run, method=job.objective, rows=rows, points=[])
        if "points" in self._known(run) and "conclusion" not in known:
            self._finish(run, self._make_points(run, job))

    def seconds(self, run: Run) -> float:
        """The cost of a run's curve."""
        return sum(point.seconds for point in self._points(run))

    def _make_points(self, run: Run, job: Job) -> Sequence[Point]:
        points = self._points(run)
        for number, share in enumerate(SHARES):
            self._interruptions.check(run)
            point = points[number] if number < len(points) else Point(share)
            if point.state == "running":
                self._train(run, number, point, job)
        return self._points(run)

    def _finish(self, run: Run, points: Sequence[Point]) -> None:
        half, whole = (Report.read(self._folder(run, n) / REPORT) for n in (len(SHARES) - 2, len(SHARES) - 1))
        gain = gain_of(points, half, whole)
        words = conclusion(points, gain)
        log.info("run %s of %s: %s", run.id, run.model, words)
        self._keep(run, gain=gain, conclusion=words)

    def _train(self, run: Run, number: int, point: Point, job: Job) -> None:
        """Train with a share and keep what became of it. Raises RunInterrupted, and the point stays running."""
        began, before, folder = self._clock(), point.seconds, self._folder(run, number)
        own = replace(
            job,
            output=str(folder.resolve()),
            share=point.share,
            resamples=RESAMPLES,
            scores=1,
            min_rows=1,
            then=None,
        )
        record = self._runs.steps(run, f"trial with {share_words(point.share)}")
        self._put(run, number, point)

        def spent() -> float:
            return before + (self._clock() - began).total_seconds()

        try:
            self._trainer().run(own, self._interruptions.checked_training(run, record))
        except TrainingFailed as error:
            self._put(run, number, replace(point, seconds=spent()))
            self._interruptions.check(run)
            point = replace(point, state="failed", reason=str(error))
        else:
            point = point.with_report(Report.read(folder / REPORT))
        self._put(run, number, replace(point, seconds=spent()))
        delete_weights(folder)

    def _folder(self, run: Run, number: int) -> Path:
        return trial_folder(self._runs.folder(run), f"share-{number}")

    def _known(self, run: Run) -> dict[str, Any]:
        return dict(self._runs.details(run).get("learning_curve", {}))

    def _keep(self, run: Run, **values: Any) -> None:
        self._runs.add_details(run, learning_curve=self._known(run) | values)

    def _points(self, run: Run) -> list[Point]:
        return [Point(**point) for point in self._known(run).get("points", [])]

    def _put(self, run: Run, number: int, point: Point) -> None:
        points = self._points(run)
        points[number:] = [point]
        self._keep(run, points=[asdict(one) for one in points])
