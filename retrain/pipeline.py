"""One cycle: snapshot, train, evaluate, decide.

It owns the order of the steps and what the ledger learns of each; every judgement is the gate's, every
change of who serves is promotion's.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any

from core.clock import Clock, new_id
from core.db import feedback, runs
from core.db import versions as versions_table
from core.db.store import Store
from core.errors import LoraLoopError
from core.model_folder import ModelFolder
from core.records import Verdict, Version
from core.settings import ModelSettings, Settings
from eval.evaluate import Result, evaluate
from eval.gates.offline import decide, spent_level
from eval.gates.result import GateResult, Outcome
from eval.holdouts import shortage_reason
from eval.ledger_evidence import kpi_rows, plain_checks
from eval.llm_judge import LlmJudge
from eval.retrieval_corpus import gather
from feedback.snapshot import TRUTH_SIGNAL, Snapshot, create_snapshot, load_snapshot
from retrain.artifacts import Artifact, from_adapter, from_retrieval, register_folder
from retrain.lineage import lineage_of, retrieval_summary, training_summary
from retrain.objective import Objective, choose_objective, enough_to_show
from retrain.runs import Run, Runs
from retrain.trainer.job import Job
from retrain.trainer.process import Trainer
from rollout.routes import DecisionContext, RouteManager
from rollout.workflow import RolloutWorkflow
from serve.adapters.preflight import preflight
from serve.engines.lease import MOST_CUTS, EngineLease
from serve.engines.reconciler import Reconciler
from serve.retrieval.retriever import read_retrieval

log = logging.getLogger(__name__)

# States in which a run waits for users or a person, and nothing of it is under way here.
LIVE = ("canary", "awaiting_approval")


class RetrainPipeline:
    """Runs cycles, one at a time."""

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
    ) -> None:
        self.settings = settings
        self.store = store
        self.base = base
        self.promotion = promotion
        self.steps = steps
        self.runs = Runs(store, clock)
        self.holders = EngineLease(reconciler, promotion.wanted, settings.engine.start_timeout_s)
        self.trainer = trainer
        self.clock = clock

    def run(self, model: str, trigger: str, actor: str = "scheduler", comment: str = "") -> str:
        """Runs one cycle to its decision and returns the run's id; it never raises for the run's own failure."""
        run = Run(new_id("run"), model, trigger, actor, comment)
        newest = feedback.count_since_last_run(self.store, model=model)
        self.runs.add(run, "snapshot", newest["newest"] or self.clock())
        self._guarded(run, self._steps)
        return run.id

    def recover(self) -> list[Run]:
        """Runs whose evaluation a stopped control cut short, for `go_on`; fails others that it left half-way.

        Canaries go on by themselves.
        """
        left = []
        for run, row in self.runs.open():
            if row["state"] in LIVE:
                continue
            cuts = json.loads(row["detail"]).get("cuts", 0) + 1
            if row["state"] == "evaluating" and run.model in self.settings.models and cuts <= MOST_CUTS:
                self.runs.detail(run, cuts=cuts)
                left.append(run)
                continue
            reason = f"Control was stopped while this run was in its step {row['state']}."
            self._end(run, "failed", Verdict.FAILED, replace(run, trigger="restart").why(reason))
        return left

    def give_up(self, model: str, error: Exception) -> None:
        """Fails what work that broke off left open of a model, or its next run would wait for a restart."""
        for run, row in self.runs.open():
            if run.model == model and row["state"] not in LIVE:
                self._end(run, "failed", Verdict.FAILED, run.why(f"An unexpected error: {error}"))

    def go_on(self, run: Run) -> None:
        """Takes up a run at its evaluation; what was answered before is not asked again."""
        self._guarded(run, self._rest)

    def _guarded(self, run: Run, steps: Callable[[Run], None]) -> None:
        try:
            steps(run)
        except LoraLoopError as error:
            self._end(run, "failed", Verdict.FAILED, run.why(str(error)))
        except Exception as error:
            log.exception("run %s", run.id)
            self._end(run, "failed", Verdict.FAILED, run.why(f"An unexpected error: {error}"))

    def _rest(self, run: Run) -> None:
        row = runs.find(self.store, id=run.id) or {}
        snapshot = load_snapshot(self.store, row["snapshot"])
        candidate = self.promotion.version(run.model, row["candidate"])
        if candidate.kind == "retrieval":
            made = {"retrieval": retrieval_summary(read_retrieval(candidate))}
        else:
            made = {"training": training_summary(self._job(run, snapshot, self.settings.models[run.model]))}
        self._judged(run, snapshot, candidate, made, None)

    def _steps(self, run: Run) -> None:
        settings = self.settings.models[run.model]
        snapshot = create_snapshot(
            self.store, run.model, settings, run_id=run.id, clock=self.clock, folder=self.settings.data / "snapshots"
        )
        runs.set_snapshot(self.store, id=run.id, snapshot=snapshot.hash)
        says = TRUTH_SIGNAL[settings.task]
        labelled = Counter(row.label for row in snapshot.of("train") if row.signal == says)
        objective = choose_objective(labelled, settings.retrain, says)
        unjudged = shortage_reason(self.store, run.model, snapshot, settings)
        if objective.name == "rag":
            self._retrieve(run, snapshot, objective, unjudged)
        elif objective.name is None:
            self._skip(run, objective.reason)
        elif unjudged:
            self._skip(run, unjudged)
        else:
            self._train(run, snapshot, settings)

    def _skip(self, run: Run, reason: str) -> None:
        self._end(run, "skipped", Verdict.SKIPPED, run.why(reason))

    def _retrieve(self, run: Run, snapshot: Snapshot, objective: Objective, unjudged: str | None) -> None:
        """Makes a retrieval the candidate, unless there is too little to show or it serves already.

        It costs nothing to make, so it is made where nothing could judge it yet, too: a person may put it in service.
        """
        settings = self.settings.models[run.model]
        found = gather(snapshot, settings, self.base.path, self.settings.engine.max_model_len)
        count = len(found.retrieval.entries)
        if not settings.baselines.documents:
            objective = enough_to_show(count, objective, settings.retrain)
        champion = self.promotion.version(run.model, self.promotion.route(run.model).champion)
        if objective.name is None:
            self._skip(run, objective.reason)
            return
        made, versions = from_retrieval(found.retrieval), versions_table.of_model(self.store, model=run.model)
        same = next((row["version"] for row in versions if row["sha256"] == made.sha256), None)
        if same is not None and (unjudged or same == champion.version):
            self._skip(run, f"{run.model}@{same} shows the same {count} texts already. {unjudged or ''}".rstrip())
            return
        candidate = self._register(run, made)
        told = retrieval_summary(found.retrieval) | {"left_out": found.left_out, "because": objective.reason}
        about = {"retrieval": told}
        if unjudged:
            reason = f"{candidate.public_name} waits for a person to promote it: {unjudged}"
            why = run.why(reason, lineage=lineage_of(self.base, settings, snapshot, candidate) | about)
            self._end(run, "finished", Verdict.INCONCLUSIVE, why, candidate.version)
        else:
            self._judged(run, snapshot, candidate, about, None)

    def _train(self, run: Run, snapshot: Snapshot, settings: ModelSettings) -> None:
        self.runs.state(run, "training")
        job = self._job(run, snapshot, settings)
        began = self.clock()
        trained = self.trainer.run(job, self.runs.steps(run, "training"))
        took = (self.clock() - began).total_seconds()
        checked = preflight(trained, base=self.base.path, max_rank=self.settings.engine.max_lora_rank)
        candidate = self._register(run, from_adapter(checked))
        self._judged(run, snapshot, candidate, {"training": training_summary(job)}, took)

    def _judged(
        self, run: Run, snapshot: Snapshot, candidate: Version, made: dict[str, Any], training_s: float | None
    ) -> None:
        settings, began = self.settings.models[run.model], self.clock()
        champion = self.promotion.version(run.model, self.promotion.route(run.model).champion)
        result = self._evaluate(run, settings, snapshot, champion, candidate)
        evaluation_s = (self.clock() - began).total_seconds()
        cost = {"training_s": training_s, "trials": 1, "evaluation_s": evaluation_s}
        lineage = lineage_of(self.base, settings, snapshot, candidate) | made | {"cost": cost}
        judgement = decide(result.evidence, settings.promotion)
        self._decide(run, settings, (candidate, champion), judgement, result, lineage)

    def _job(self, run: Run, snapshot: Snapshot, settings: ModelSettings) -> Job:
        retrain = settings.retrain
        return Job(
            run_id=run.id,
            base=str(self.base.path),
            snapshot=str(snapshot.path.resolve()),
            output=str((self.settings.data / "runs" / run.id).resolve()),
            rank=retrain.rank,
            epochs=retrain.epochs,
            batch_size=retrain.batch_size,
            learning_rate=retrain.learning_rate,
            max_rows=retrain.max_rows,
            max_length=retrain.max_length,
            seed=retrain.seed,
            threads=retrain.threads,
            dtype=self.settings.engine.dtype,
        )

    def _register(self, run: Run, made: Artifact) -> Version:
        with (
            self.store.transaction() as transaction,
            register_folder(
                transaction, made, model=run.model, run_id=run.id, adapters=self.settings.adapters
            ) as candidate,
        ):
            self.promotion.add_version(transaction, candidate)
            runs.set_candidate(transaction, id=run.id, candidate=candidate.version)
        return self.promotion.version(run.model, candidate.version)  # by the name that engines know

    def _evaluate(
        self, run: Run, settings: ModelSettings, snapshot: Snapshot, champion: Version, candidate: Version
    ) -> Result:
        tell = self.runs.progress(run, "evaluating")
        judge = self._judge(settings)
        with closing(judge) if judge else nullcontext():
            result = self.holders.lend(
                (candidate, champion),
                lambda client: evaluate(
                    self.store,
                    client,
                    base=self.base,
                    model=run.model,
                    settings=settings,
                    snapshot=snapshot,
                    champion=champion,
                    candidate=candidate,
                    run_id=run.id,
                    judge=judge,
                    engine=self.settings.engine,
                    progress=tell,
                ),
            )
        self.runs.detail(run, base_prompt=result.base_prompt)
        return result

    def _judge(self, settings: ModelSettings) -> LlmJudge | None:
        key = self.settings.keys.judge
        asked = settings.evaluation.judge
        if asked is None:
            return None
        return LlmJudge(asked, key.get_secret_value() if key else None, store=self.store, clock=self.clock)

    def _decide(
        self,
        run: Run,
        settings: ModelSettings,
        versions: tuple[Version, Version],
        judgement: GateResult,
        result: Result,
        lineage: dict[str, Any],
    ) -> None:
        candidate, champion = versions
        evidence = result.plain() | {
            "gate": plain_checks(judgement),
            "kpis": kpi_rows(result.evidence, judgement),
            "level_spent": spent_level(settings.promotion.alpha, result.evidence.holdout_use),
            "primary": settings.promotion.primary.kpi,
            "labels": settings.labels,
        }
        why = run.why(judgement.reason, evidence=evidence, lineage=lineage)
        if judgement.outcome is not Outcome.PASS:
            verdict = Verdict.KEPT if judgement.outcome is Outcome.FAIL else Verdict.INCONCLUSIVE
            self._end(run, "finished", verdict, why, candidate.version)
        else:
            self.steps.passed_offline(run.model, candidate.version, champion.version, why)

    def _end(self, run: Run, state: str, verdict: Verdict, why: DecisionContext, candidate: int | None = None) -> None:
        self.promotion.note(run.model, candidate, verdict, why, self.runs.closing(run, state, why.reason))
