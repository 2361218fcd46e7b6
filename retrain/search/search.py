"""Search for the settings of a run's training: trials, one trainer process each, which continue like any training.

It trains on the train part and decides by the dev part; it must not use the holdout.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from core.clock import Clock
from core.db import trials as trials_table
from core.db.store import Row, Store
from core.errors import TooFewRows, TrainingFailed
from core.settings import SearchSettings
from feedback.snapshot import Snapshot
from retrain.interruptions import Interruptions
from retrain.job_settings import count_rows, planned_epochs
from retrain.runs import Run, Runs
from retrain.search.curve_trainings import CurveTrainings
from retrain.search.space import configured_values, setup_of, space_of, with_values
from retrain.search.study import Study
from retrain.search.trial_folders import delete_weights, trial_folder
from retrain.search.trials import (
    COMPLETE,
    PARTS,
    RUNNING,
    LastSearch,
    SearchPlan,
    Trial,
    best_of,
    chosen_values,
    conclusion,
    out_of_time,
    plan_search,
    reason_to_end,
)
from retrain.step_results import Work
from retrain.trainer.job import REPORT, Job, Report, Step
from retrain.trainer.process import Trainer

log = logging.getLogger(__name__)
OUT_OF_TIME = "The time of the search was over."


class Searches:
    """Searches and learning curves of runs.

    What one found is kept in the details of its run, and trials of searches in the store.
    """

    def __init__(
        self,
        *,
        max_rank: Callable[[], int],
        store: Store,
        runs: Runs,
        interruptions: Interruptions,
        trainer: Callable[[], Trainer],
        clock: Clock,
    ) -> None:
        self._max_rank = max_rank
        self._store = store
        self._runs = runs
        self._interruptions = interruptions
        self._trainer = trainer
        self._clock = clock
        self._curves = CurveTrainings(store=store, runs=runs, interruptions=interruptions, trainer=trainer, clock=clock)

    def apply(self, run: Run, job: Job) -> Job:
        """Return the job of a run with the values that its search found, or an earlier search."""
        return with_values(job, self._runs.details(run).get("search", {}).get("values", {}))

    def cost(self, run: Run, training_s: float | None, evaluation_s: float) -> dict[str, float | None]:
        """The seconds that a run's candidate cost, with those of its search and curve, and the number of trials."""
        found = trials_table.of_run(self._store, run_id=run.id)
        search = {"trials": len(found) or 1, "search_s": sum(trial["seconds"] for trial in found)}
        curve = {"curve_s": seconds} if (seconds := self._curves.seconds(run)) else {}
        return {"training_s": training_s, "evaluation_s": evaluation_s, **search, **curve}

    def find(self, work: Work, job: Job, snapshot: Snapshot) -> Job:
        """Search if the settings ask for it, and return the job to train with. Continues a search that was cut short.

        Then makes a learning curve with this job, if the settings ask for one. Raises RunInterrupted, or TooFewRows if
        too few rows can be trained on.
        """
        run, known = work.run, self._runs.details(work.run).get("search", {})
        if not known:
            plan = self._plan(work, job, snapshot)
            known = {"reason": plan.reason, "values": plan.values}
            if plan.searches:
                # A search that continues keeps its space, also after an erasure or with another limit of ranks.
                kept = {"epochs": planned_epochs(job, snapshot), "max_rank": self._max_rank()}
                known |= {"method": job.objective, "rows": count_rows(job, snapshot), "setup": self._setup(job)} | kept
            if plan.reason:
                log.info("run %s of %s: %s", run.id, run.model, plan.reason)
                self._runs.add_details(run, search=known)
        if "method" in known and not known.get("ended"):
            space = space_of(job, known["epochs"], known["max_rank"])
            study = Study(space, configured_values(job, known["epochs"], space), job.seed)
            trials, why = self._make_trials(work, job, study)
            most = self._max_rank()
            chosen, words = chosen_values(best_of(trials, most)), conclusion(trials, why, most)
            log.info("run %s of %s: %s", run.id, run.model, words)
            found = {"values": chosen, "ended": True, "conclusion": words}
            self._runs.add_details(run, search=known | found)
        chosen_job = self.apply(run, job)
        self._curves.make(work, chosen_job, snapshot)
        return chosen_job

    def _plan(self, work: Work, job: Job, snapshot: Snapshot) -> SearchPlan:
        row = trials_table.last_search(self._store, model=work.model, method=job.objective)
        last = None
        if row:
            last = LastSearch(row["id"], row["search"]["rows"], row["search"]["setup"], row["search"]["values"])
        return plan_search(
            work.settings.retrain.search,
            last,
            method=job.objective,
            rows=count_rows(job, snapshot),
            dev_rows=count_rows(job, snapshot, "dev"),
            setup=self._setup(job),
        )

    def _setup(self, job: Job) -> dict[str, Any]:
        return setup_of(job) | {"max_rank": self._max_rank()}

    def _make_trials(self, work: Work, job: Job, study: Study) -> tuple[Sequence[Trial], str]:
        """Make trials until the search ends. Returns them, and why it ended."""
        run, search = work.run, work.settings.retrain.search
        while True:
            self._interruptions.check(run)
            trials = self._trials(run)
            current = next((trial for trial in trials if trial.state == RUNNING), None)
            if current is None:
                if why := reason_to_end(trials, search):
                    return trials, why
                current = Trial(len(trials), study.suggest(trials))
                self._save(run, current)
            others = [trial for trial in trials if trial.number != current.number]
            self._train(run, _TrialInProgress(current, others, study, search), job)

    def _train(self, run: Run, trial: "_TrialInProgress", job: Job) -> None:
        """Train a trial to its end and keep what became of it. Raises RunInterrupted, and the trial stays running."""
        began, before = self._clock(), trial.current.seconds
        folder, values = trial_folder(self._runs.folder(run), str(trial.current.number)), chosen_values(trial.current)
        # A trial is scored by what its first objective trains, so that it has no second one.
        own = with_values(replace(job, output=str(folder.resolve()), scores=PARTS, then=None), values)
        record = self._runs.steps(run, f"trial {trial.current.number}")

        def report(step: Step) -> None:
            trial.current = replace(trial.current, seconds=before + (self._clock() - began).total_seconds())
            if trial.ends(step):
                self._trainer().interrupt(run.id, save=False)
            if "dev_score" in step.metrics:
                self._save(run, trial.current)
            record(step)

        try:
            self._trainer().run(own, self._interruptions.checked_training(run, report))
        except TooFewRows:
            raise
        except TrainingFailed as error:
            self._save(run, trial.current)
            self._interruptions.check(run)
            trial.fail(str(error))
        else:
            trial.complete(Report.read(folder / REPORT))
        self._save(run, trial.current)
        delete_weights(folder)

    def _trials(self, run: Run) -> list[Trial]:
        return [_trial(row) for row in trials_table.of_run(self._store, run_id=run.id)]

    def _save(self, run: Run, trial: Trial) -> None:
        trials_table.put(self._store, run_id=run.id, **asdict(trial))


def _trial(row: Row) -> Trial:
    return Trial(**{**row, "scores": tuple((part, score) for part, score in row["scores"])})


class _TrialInProgress:
    """A trial that is being trained, and whether it is to end early."""

    def __init__(self, current: Trial, others: Sequence[Trial], study: Study, search: SearchSettings) -> None:
        self.current = current
        self._others = others
        self._study = study
        self._search = search
        self._ended: tuple[str, str] | None = None

    def ends(self, step: Step) -> bool:
        """Note a step, and return whether the trial ends with it, because of its score or of the time."""
        score = step.metrics.get("dev_score")
        if score is not None:
            self.current = self.current.with_score(PARTS * step.done // step.total, score)
        if step.done == step.total or self._ended:
            return False
        if score is not None and (why := self._study.reason_to_prune(self._others, self.current)):
            self._ended = ("pruned", why)
        elif out_of_time([*self._others, self.current], self._search):
            self._ended = ("stopped", OUT_OF_TIME)
        return self._ended is not None

    def fail(self, reason: str) -> None:
        """The training has ended without an adapter: because it was to end early, or by an error."""
        state, why = self._ended or ("failed", reason)
        self.current = replace(self.current, state=state, reason=why)

    def complete(self, report: Report | None) -> None:
        """The training made an adapter. Without a score of it, the trial has failed."""
        figures = (report.dev or {}).get("score") if report else None
        if figures is None:
            self.fail("The dev part has too few rows that can be scored.")
            return
        self.current = replace(self.current, state=COMPLETE, score=figures["dev_score"], figures=figures)
