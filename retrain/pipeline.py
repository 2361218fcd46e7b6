"""Run the pipeline of one model: snapshot, plan, candidate, evidence, decision, rollout."""

import logging
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

from core.clock import Clock, new_id
from core.db import feedback, runs, versions
from core.db.store import Store
from core.errors import LoraLoopError, TooFewRows
from core.model_folder import ModelFolder
from core.records import Verdict, Version
from core.settings import ModelSettings, Settings
from eval.context import EvaluationTask
from eval.evaluation import Result, evaluate
from eval.gates.result import Outcome
from eval.holdouts import shortage_reason
from eval.llm_judge import LlmJudge
from eval.retrieval_corpus import gather
from feedback.brigades import find_brigades
from feedback.snapshot import Snapshot, create_snapshot, load_snapshot
from feedback.traffic_sample import add_coverage
from retrain.artifacts import Artifact, from_adapter, from_retrieval, register_folder
from retrain.interruptions import Interruptions
from retrain.job_settings import job_of_plan, planned_steps
from retrain.judgement import judge
from retrain.lineage import lineage_of, notes_of, retrieval_summary, training_of
from retrain.plan import Plan, judged_by, plan_of, repeats_run, require_examples
from retrain.run_recovery import RunRecovery
from retrain.run_states import QUEUED, TRAINING
from retrain.runs import Run, Runs
from retrain.search.search import Searches
from retrain.step_results import Candidate, Decided, Evidence, RunEnded, Work
from retrain.suite_run import SuiteRunner
from retrain.trainer.job import Job
from retrain.trainer.process import Trainer
from rollout.change_writer import DecisionContext
from rollout.promotion import RouteManager
from rollout.quarantine_review import hold_bursts
from rollout.workflow import RolloutWorkflow
from serve.adapters.preflight import Adapter, preflight
from serve.engines.lease import EngineLease
from serve.engines.reconciler import Reconciler
from serve.retrieval.retriever import read_retrieval

log = logging.getLogger(__name__)


class RetrainPipeline:
    """Runs the pipeline, one run at a time.

    `evaluate`, `check_adapter` and `find_shortage` are replaced in tests of the order of steps.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        base: ModelFolder,
        promotion: RouteManager,
        steps: RolloutWorkflow,
        reconciler: Reconciler,
        trainer: Trainer,
        clock: Clock,
        evaluate: Callable[..., Result] = evaluate,
        check_adapter: Callable[..., Adapter] = preflight,
        find_shortage: Callable[..., str | None] = shortage_reason,
    ) -> None:
        self.settings = settings
        self.store = store
        self.base = base
        self.promotion = promotion
        self.steps = steps
        self.trainer = trainer
        self.clock = clock
        self.evaluate = evaluate
        self.check_adapter = check_adapter
        self.find_shortage = find_shortage
        self.runs = Runs(store, clock, settings.data / "runs")
        self.interruptions = Interruptions(runs=self.runs, promotion=promotion, trainer=lambda: self.trainer)
        self.engines = EngineLease(reconciler, promotion.wanted, settings.engine.start_timeout_s)
        self.recovery = RunRecovery(
            runs=self.runs,
            interruptions=self.interruptions,
            promotion=promotion,
            models=lambda: self.settings.models,
        )
        self.searches = Searches(
            max_rank=lambda: self.settings.engine.max_lora_rank,
            store=store,
            runs=self.runs,
            interruptions=self.interruptions,
            trainer=lambda: self.trainer,
            clock=clock,
        )
        self.suites = SuiteRunner(
            settings=lambda: self.settings,
            store=store,
            base=base,
            promotion=promotion,
            runs=self.runs,
            engines=self.engines,
            interruptions=self.interruptions,
        )

    def run(self, model: str, trigger: str, actor: str = "scheduler", comment: str = "") -> str:
        """Run the pipeline to its decision and return the run's id. The run's own failure is a decision as well."""
        run = self.queue(model, trigger, actor, comment)
        self.execute(run)
        return run.id

    def queue(
        self,
        model: str,
        trigger: str,
        actor: str = "scheduler",
        comment: str = "",
        settings: ModelSettings | None = None,
    ) -> Run:
        """Add a run for `execute`, with settings of its own instead of those of its model if they are given."""
        run = Run(new_id("run"), model, trigger, actor, comment)
        until = feedback.newest_arrival(self.store, model=model) or self.clock()
        own = {} if settings is None else {"settings": settings.model_dump(mode="json")}
        self.runs.add(run, QUEUED, until, details=own)
        return run

    def execute(self, run: Run) -> None:
        """Begin a run that was queued, or continue one at its training or evaluation."""
        if self.runs.row(run)["snapshot"]:
            self.resume(run)
        else:
            self._guarded(Work(run, self._settings_of(run)), self._execute)

    def recover(self) -> list[Run]:
        """Runs that a stopped control interrupted, for `execute`. Fails those that cannot be continued."""
        return self.recovery.recover()

    def give_up(self, model: str, error: Exception) -> None:
        """Fail the unfinished run of a model whose work broke off, so that its next run can start."""
        self.recovery.give_up(model, error)

    def resume(self, run: Run) -> None:
        """Continue a run at its training or evaluation, with the settings that it began with.

        A training continues at its last checkpoint, and stored answers are used again.
        """
        trained = self.runs.row(run)["candidate"] is not None
        steps = self._execute_from_evaluation if trained else self._execute_from_training
        self._guarded(Work(run, self._settings_of(run)), steps)

    def _settings_of(self, run: Run) -> ModelSettings:
        kept = self.runs.details(run).get("settings")
        return ModelSettings.model_validate(kept) if kept else self.settings.models[run.model]

    def _execute(self, work: Work) -> None:
        until = feedback.newest_arrival(self.store, model=work.model) or self.clock()
        self.runs.begin(work.run, until, settings=work.settings.model_dump(mode="json"))
        self._execute_from_plan(work, self._take_snapshot(work))

    def _execute_from_plan(self, work: Work, snapshot: Snapshot) -> None:
        plan = self._plan(work, snapshot)
        candidate = self._make_candidate(work, snapshot, plan)
        evidence = self._gather_evidence(work, snapshot, candidate)
        decision = self._decide(work, evidence)
        self._apply(work, candidate, evidence, decision)

    def _execute_from_training(self, work: Work) -> None:
        snapshot = load_snapshot(self.store, self.runs.row(work.run)["snapshot"], work.run.id)
        self._execute_from_plan(work, snapshot)

    def _execute_from_evaluation(self, work: Work) -> None:
        row = self.runs.row(work.run)
        snapshot = load_snapshot(self.store, row["snapshot"], work.run.id)
        version = self.promotion.version(work.model, row["candidate"])
        if version.kind == "retrieval":
            candidate = Candidate(version, {"retrieval": retrieval_summary(read_retrieval(version))}, work.settings)
        else:
            plan = plan_of(snapshot, work.settings)
            job = self.searches.apply(work.run, self._job(work, snapshot, plan))
            made = training_of(job, plan, self.runs.details(work.run))
            candidate = Candidate(version, made, judged_by(plan, work.settings))
        evidence = self._gather_evidence(work, snapshot, candidate)
        decision = self._decide(work, evidence)
        self._apply(work, candidate, evidence, decision)

    def _take_snapshot(self, work: Work) -> Snapshot:
        hold_bursts(
            self.promotion,
            work.model,
            find_brigades(self.store, work.model, work.settings),
            run_id=work.run.id,
        )
        folder = self.settings.data / "snapshots"
        snapshot = create_snapshot(
            self.store, work.model, work.settings, run_id=work.run.id, clock=self.clock, folder=folder
        )
        runs.set_snapshot(self.store, id=work.run.id, snapshot=snapshot.hash)
        return add_coverage(self.store, snapshot, work.model, work.settings.privacy.rules, work.run.id, self.clock())

    def _plan(self, work: Work, snapshot: Snapshot) -> Plan:
        """What to make of the snapshot. Raises RunEnded where nothing can be made, or nothing could judge it."""
        self.interruptions.check(work.run)
        plan = plan_of(snapshot, work.settings)
        if plan.objective is None:
            raise RunEnded(Verdict.SKIPPED, plan.reason)
        if plan.objective != "rag":
            last = runs.last_finished(self.store, model=work.model)
            reason = repeats_run(snapshot.hash, work.settings.model_dump(mode="json"), last)
            reason = reason or self._shortage(work.model, judged_by(plan, work.settings), snapshot)
            if reason:
                raise RunEnded(Verdict.SKIPPED, reason)
        return plan

    def _make_candidate(self, work: Work, snapshot: Snapshot, plan: Plan) -> Candidate:
        if plan.objective == "rag":
            return self._make_retrieval(work, snapshot, plan)
        self.runs.set_state(work.run, TRAINING)
        try:
            job, began = self.searches.find(work, self._job(work, snapshot, plan), snapshot), self.clock()
            self.runs.estimate(work.run, planned_steps(job, snapshot))
            trained = self.trainer.run(
                job, self.interruptions.checked_training(work.run, self.runs.steps(work.run, TRAINING))
            )
        except TooFewRows as error:
            raise RunEnded(Verdict.SKIPPED, str(error)) from error
        training_s = (self.clock() - began).total_seconds()
        checked = self.check_adapter(trained, base=self.base.path, max_rank=self.settings.engine.max_lora_rank)
        made = training_of(job, plan)
        self.runs.add_details(work.run, **notes_of(made))
        version, how = self._register(work, from_adapter(checked)), judged_by(plan, work.settings)
        return Candidate(version, made, how, training_s)

    def _make_retrieval(self, work: Work, snapshot: Snapshot, plan: Plan) -> Candidate:
        """Make a retrieval version. Raises RunEnded with too few examples, or if it serves already.

        It costs nothing to make. Where no holdout could judge it yet, it is made once for a person to promote.
        """
        settings = work.settings
        found = gather(snapshot, settings, self.base.path, self.settings.engine.max_model_len)
        count = len(found.retrieval.entries)
        if not settings.baselines.documents:
            plan = require_examples(count, plan, settings.retrain)
        if plan.objective is None:
            raise RunEnded(Verdict.SKIPPED, plan.reason)
        shortage, made = self._shortage(work.model, settings, snapshot), from_retrieval(found.retrieval)
        known = versions.of_model(self.store, model=work.model)
        same = next((row["version"] for row in known if row["sha256"] == made.sha256), None)
        if same is not None and (shortage or same == self._champion(work).version):
            reason = f"{work.model}@{same} has the same {count} texts already. {shortage or ''}".rstrip()
            raise RunEnded(Verdict.SKIPPED, reason)
        version = self._register(work, made)
        summary = retrieval_summary(found.retrieval) | {"left_out": found.left_out, "because": plan.reason}
        if shortage:
            lineage = lineage_of(self.base, settings, snapshot, version) | {"retrieval": summary}
            reason = f"{version.public_name} waits for a person to promote it: {shortage}"
            raise RunEnded(Verdict.INCONCLUSIVE, reason, version.version, lineage)
        return Candidate(version, {"retrieval": summary}, settings)

    def _gather_evidence(self, work: Work, snapshot: Snapshot, candidate: Candidate) -> Evidence:
        began, champion = self.clock(), self._champion(work)
        how = candidate.judged_by
        task = EvaluationTask(work.run.id, work.model, how, snapshot, champion, candidate.version)
        judge = self._llm_judge(how)
        with closing(judge) if judge else nullcontext():
            result = self.engines.with_engine_serving(
                (candidate.version, champion),
                lambda client: self.evaluate(
                    task,
                    store=self.store,
                    client=client,
                    base=self.base,
                    judge=judge,
                    engine_settings=self.settings.engine,
                    progress=self.interruptions.checked(work.run, self.runs.progress(work.run, "evaluating")),
                ),
            )
        self.runs.add_details(work.run, base_prompt=result.base_prompt)
        cost = self.searches.cost(work.run, candidate.training_s, (self.clock() - began).total_seconds())
        lineage = lineage_of(self.base, work.settings, snapshot, candidate.version) | candidate.made | {"cost": cost}
        return Evidence(result, champion, lineage, how)

    def _decide(self, work: Work, evidence: Evidence) -> Decided:
        self.interruptions.check(work.run)
        decided = judge(work.run, evidence, work.settings.labels)
        if warning := decided.context.evidence.get("warning"):
            self.runs.warn(work.run, warning)
        return decided

    def _apply(self, work: Work, candidate: Candidate, evidence: Evidence, decision: Decided) -> None:
        version, context = candidate.version.version, decision.context
        if decision.outcome is Outcome.PASS:
            self.steps.passed_offline(work.model, version, evidence.champion.version, context)
        else:
            verdict = Verdict.KEPT if decision.outcome is Outcome.FAIL else Verdict.INCONCLUSIVE
            self._end(work.run, "finished", verdict, context, version)

    def _job(self, work: Work, snapshot: Snapshot, plan: Plan) -> Job:
        return job_of_plan(
            work.run.id, plan, model=work.settings, settings=self.settings, base=self.base, snapshot=snapshot
        )

    def _register(self, work: Work, artifact: Artifact) -> Version:
        adapters: Path = self.settings.adapters
        with (
            self.store.transaction() as transaction,
            register_folder(transaction, artifact, model=work.model, run_id=work.run.id, adapters=adapters) as version,
        ):
            self.promotion.add_version(transaction, version)
            runs.set_candidate(transaction, id=work.run.id, candidate=version.version)
        return self.promotion.version(work.model, version.version)  # with the name that engines use

    def _shortage(self, model: str, settings: ModelSettings, snapshot: Snapshot) -> str | None:
        return self.find_shortage(self.store, model, snapshot, settings)

    def _champion(self, work: Work) -> Version:
        return self.promotion.version(work.model, self.promotion.route(work.model).champion)

    def _llm_judge(self, settings: ModelSettings) -> LlmJudge | None:
        judge, key = settings.evaluation.judge, self.settings.keys.judge
        if judge is None:
            return None
        return LlmJudge(judge, key.get_secret_value() if key else None, store=self.store, clock=self.clock)

    def _guarded(self, work: Work, steps: Callable[[Work], None]) -> None:
        with self.interruptions.working(work.run) as free:
            if free:
                self._attempt(work, steps)

    def _attempt(self, work: Work, steps: Callable[[Work], None]) -> None:
        run = work.run
        try:
            steps(work)
        except RunEnded as ended:
            state = "skipped" if ended.verdict is Verdict.SKIPPED else "finished"
            self._end(run, state, ended.verdict, run.context(ended.reason, lineage=ended.lineage), ended.version)
        except Exception as error:
            if self.interruptions.carry_out(run):
                return
            if not isinstance(error, LoraLoopError):
                log.exception("run %s", run.id)
            reason = str(error) if isinstance(error, LoraLoopError) else f"An unexpected error: {error}"
            self._end(run, "failed", Verdict.FAILED, run.context(reason))

    def _end(
        self, run: Run, state: str, verdict: Verdict, context: DecisionContext, version: int | None = None
    ) -> None:
        self.promotion.record_decision(run.model, version, verdict, context, run=run.end(state, context.reason))
