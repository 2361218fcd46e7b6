"""One cycle: snapshot, train, evaluate, decide.

It owns the order of the steps and what the ledger learns of each; every judgement is the gate's, every
change of who serves is promotion's.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.basemodel import BaseModel, weights_sha256
from core.clock import Clock, new_id
from core.errors import EngineDown, EngineFailed, LoraLoopError
from core.records import Verdict, Version
from core.settings import ModelSettings, Settings
from core.store import Store, Transaction
from eval.evaluation import Result, evaluate
from eval.holdouts import unaskable
from eval.judge import Judge
from eval.judgement import Judgement, Outcome
from eval.offline import decide, spent_level
from eval.promotion import Promotion, Why
from eval.record import kpi_rows, plain_checks
from eval.steps import Steps
from feedback.snapshot import SAYS, Snapshot, reopened, take
from retrain.artifact import adopt
from retrain.job import Job, Step
from retrain.objective import choose
from retrain.trainer import Trainer
from serve.reconciler import Reconciler
from serve.vllm import VllmClient

log = logging.getLogger(__name__)

# An evaluation that ended control's process, or an engine, so often is likely to be what ends it.
MOST_CUTS = 3
ENGINE_PAUSE_SECONDS = 1.0
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Run:
    """A cycle under way."""

    id: str
    model: str
    trigger: str
    actor: str


class Cycle:
    """Runs cycles, one at a time."""

    def __init__(self, *, settings: Settings, store: Store, base: BaseModel, promotion: Promotion,
                 steps: Steps, reconciler: Reconciler, trainer: Trainer, clock: Clock) -> None:  # fmt: skip
        self.settings = settings
        self.store = store
        self.base = base
        self.promotion = promotion
        self.steps = steps
        self.reconciler = reconciler
        self.trainer = trainer
        self.clock = clock

    def run(self, model: str, trigger: str, actor: str = "scheduler") -> str:
        """Runs one cycle to its decision and returns the run's id; it never raises for the run's own failure."""
        run = Run(new_id("run"), model, trigger, actor)
        newest = self.store.row("feedback_since", model=model) or {}
        now = self.clock()
        self.store.run("run_add", id=run.id, model=model, trigger=trigger, state="snapshot", started=now,
                       feedback_until=newest.get("newest") or now)  # fmt: skip
        self._guarded(run, self._steps)
        return run.id

    def recover(self) -> list[Run]:
        """Runs whose evaluation a stopped control cut short, for `go_on`; fails others that it left half-way.

        Canaries go on by themselves.
        """
        left = []
        for row in self.store.rows("runs_open"):
            if row["state"] in ("canary", "awaiting_approval"):
                continue
            cuts = json.loads(row["detail"]).get("cuts", 0) + 1
            if row["state"] == "evaluating" and row["model"] in self.settings.models and cuts <= MOST_CUTS:
                self.store.run("run_detail", id=row["id"], detail=json.dumps({"cuts": cuts}))
                left.append(Run(row["id"], row["model"], row["trigger"], "control"))
                continue
            run = Run(row["id"], row["model"], "restart", "control")
            reason = f"Control was stopped while this run was in its step {row['state']}."
            self._end(run, "failed", Verdict.FAILED, Why(reason, "restart", "control", run_id=run.id))
        return left

    def go_on(self, run: Run) -> None:
        """Takes up a run at its evaluation; what was answered before is not asked again."""
        self._guarded(run, self._rest)

    def _guarded(self, run: Run, steps: Callable[[Run], None]) -> None:
        try:
            steps(run)
        except LoraLoopError as error:
            self._end(run, "failed", Verdict.FAILED, Why(str(error), run.trigger, run.actor, run_id=run.id))
        except Exception as error:
            log.exception("run %s", run.id)
            why = Why(f"An unexpected error: {error}", run.trigger, run.actor, run_id=run.id)
            self._end(run, "failed", Verdict.FAILED, why)

    def _rest(self, run: Run) -> None:
        row = self.store.row("run_get", id=run.id) or {}
        snapshot = reopened(self.store, row["snapshot"])
        job = self._job(run, snapshot, self.settings.models[run.model])
        self._judged(run, snapshot, self.promotion.version(run.model, row["candidate"]), job, None)

    def _steps(self, run: Run) -> None:
        settings = self.settings.models[run.model]
        snapshot = take(self.store, run.model, settings, run_id=run.id, clock=self.clock,
                        folder=self.settings.data / "snapshots")  # fmt: skip
        self.store.run("run_snapshot", id=run.id, snapshot=snapshot.hash)
        says = SAYS[settings.task]
        labelled = Counter(row.label for row in snapshot.of("train") if row.signal == says)
        objective = choose(labelled, settings.retrain, says)
        refusal = objective.reason if objective.name is None else unaskable(self.store, run.model, snapshot, settings)
        if refusal:
            why = Why(refusal, run.trigger, run.actor, run_id=run.id)
            self._end(run, "skipped", Verdict.SKIPPED, why)
            return
        self._state(run, "training")
        job = self._job(run, snapshot, settings)
        began = self.clock()
        trained = self.trainer.run(job, self._progress(run, "training"))
        took = (self.clock() - began).total_seconds()
        self._judged(run, snapshot, self._register(run, trained), job, took)

    def _judged(self, run: Run, snapshot: Snapshot, candidate: Version, job: Job,
                training_s: float | None) -> None:  # fmt: skip
        settings, began = self.settings.models[run.model], self.clock()
        champion = self.promotion.version(run.model, self.promotion.route(run.model).champion)
        result = self._evaluate(run, settings, snapshot, champion, candidate)
        evaluation_s = (self.clock() - began).total_seconds()
        cost = {"training_s": training_s, "trials": 1, "evaluation_s": evaluation_s}
        lineage = self._lineage(snapshot, candidate, job) | {"cost": cost}
        judgement = decide(result.evidence, settings.promotion)
        self._decide(run, settings, (candidate, champion), judgement, result, lineage)

    def _job(self, run: Run, snapshot: Snapshot, settings: ModelSettings) -> Job:
        retrain = settings.retrain
        return Job(
            run_id=run.id, base=str(self.base.path), snapshot=str(snapshot.path.resolve()),
            output=str((self.settings.data / "runs" / run.id).resolve()), rank=retrain.rank, epochs=retrain.epochs,
            batch_size=retrain.batch_size, learning_rate=retrain.learning_rate, max_rows=retrain.max_rows,
            max_length=retrain.max_length, seed=retrain.seed, threads=retrain.threads,
            dtype=self.settings.engine.dtype,
        )  # fmt: skip

    def _register(self, run: Run, trained: Path) -> Version:
        # An import takes numbers too: whoever writes has the next one to himself.
        with self.store.transaction() as transaction:
            candidate = adopt(
                self.store, trained, model=run.model, run_id=run.id, adapters=self.settings.adapters,
                base=self.base.path, max_rank=self.settings.engine.max_lora_rank,
            )  # fmt: skip
            self.promotion.add_version(transaction, candidate)
            transaction.run("run_candidate", id=run.id, candidate=candidate.version)
        return candidate

    def _evaluate(self, run: Run, settings: ModelSettings, snapshot: Snapshot, champion: Version,
                  candidate: Version) -> Result:  # fmt: skip
        tell = self.progress(run, "evaluating")
        judge = self._judge(settings)
        with closing(judge) if judge else nullcontext():
            result = self.with_engine(candidate, lambda client: evaluate(
                self.store, client, base=self.base, model=run.model, settings=settings, snapshot=snapshot,
                champion=champion, candidate=candidate, run_id=run.id, judge=judge, engine=self.settings.engine,
                progress=tell,
            ))  # fmt: skip
        self.store.run("run_detail", id=run.id, detail=json.dumps({"base_prompt": result.base_prompt}))
        return result

    def _judge(self, settings: ModelSettings) -> Judge | None:
        key = self.settings.keys.judge
        asked = settings.evaluation.judge
        return Judge(asked, key.get_secret_value() if key else None) if asked else None

    def with_engine(self, candidate: Version, work: Callable[[VllmClient], Found]) -> Found:
        """Work that keeps what it has when an engine goes away, and goes on once that is back."""
        for _ in range(MOST_CUTS):
            client = self._awaited(candidate)
            try:
                return work(client)
            except EngineDown as error:
                log.warning("an evaluation was cut short: %s", error)
        return work(self._awaited(candidate))

    def _awaited(self, candidate: Version) -> VllmClient:
        """An engine that holds the candidate, once it is well. Raises EngineDown when that takes too long."""
        deadline = time.monotonic() + self.settings.engine.start_timeout_s
        while True:
            try:
                return self._engine_with(candidate)
            except EngineDown:
                if time.monotonic() > deadline:
                    raise
                time.sleep(ENGINE_PAUSE_SECONDS)

    def _engine_with(self, candidate: Version) -> VllmClient:
        """An engine that holds the candidate; every engine is made to, for any of them may serve it next."""
        states = self.reconciler.reconcile(self.promotion.wanted, may_unload=lambda _: False)
        for client, state in zip(self.reconciler.clients, states, strict=True):
            if not state.healthy:
                raise EngineDown(f"The engine at {client.url} does not answer.", hint="See its log.")
            if not state.ready:
                raise EngineFailed(f"The engine at {client.url} could not take {candidate.public_name}: "
                                   f"{state.error}")  # fmt: skip
        return self.reconciler.clients[0]

    def _decide(self, run: Run, settings: ModelSettings, versions: tuple[Version, Version], judgement: Judgement,
                result: Result, lineage: dict[str, Any]) -> None:  # fmt: skip
        candidate, champion = versions
        evidence = result.plain() | {
            "gate": plain_checks(judgement),
            "kpis": kpi_rows(result.evidence, judgement),
            "level_spent": spent_level(settings.promotion.alpha, result.evidence.holdout_use),
            "primary": settings.promotion.primary.kpi,
            "labels": settings.labels,
        }
        why = Why(judgement.reason, run.trigger, run.actor, run_id=run.id, evidence=evidence, lineage=lineage)
        if judgement.outcome is not Outcome.PASS:
            verdict = Verdict.KEPT if judgement.outcome is Outcome.FAIL else Verdict.INCONCLUSIVE
            self._end(run, "finished", verdict, why, candidate.version)
        else:
            self.steps.passed_offline(run.model, candidate.version, champion.version, why)

    def _lineage(self, snapshot: Snapshot, candidate: Version, job: Job) -> dict[str, Any]:
        training = {name: value for name, value in asdict(job).items() if name not in ("base", "snapshot", "output")}
        return {
            "base_model": self.base.name,
            "base_sha256": weights_sha256(self.base.path),
            "adapter_sha256": candidate.sha256,
            # Every candidate is trained anew from the base model on the whole snapshot.
            "parent": f"{candidate.model}@0",
            "snapshot": snapshot.hash,
            "rows": snapshot.report.rows,
            "users": snapshot.report.users,
            "signals": snapshot.report.signals,
            "by_signal": snapshot.report.by_signal,
            "left_out": snapshot.report.left_out,
            "training": training,
        }

    def progress(self, run: Run, phase: str) -> Callable[[int, int], None]:
        """Writes down how far a phase is, now and then."""
        keep = self._progress(run, phase)

        def tell(done: int, total: int) -> None:
            if done == total or done % 50 == 0:
                keep(Step(done, total, {}))

        return tell

    def _progress(self, run: Run, phase: str) -> Callable[[Step], None]:
        def keep(step: Step) -> None:
            self.store.run("run_metric_add", run_id=run.id, time=self.clock(), phase=phase, done=step.done,
                           total=step.total, metrics=json.dumps(step.metrics))  # fmt: skip

        return keep

    def _state(self, run: Run, state: str) -> None:
        self.store.run("run_state", id=run.id, state=state, time=self.clock(), reason=None)

    def _closing(self, run: Run, state: str, reason: str | None) -> Callable[[Transaction], None]:
        return lambda transaction: transaction.run(
            "run_state", id=run.id, state=state, time=self.clock(), reason=reason
        )

    def _end(self, run: Run, state: str, verdict: Verdict, why: Why, candidate: int | None = None) -> None:
        self.promotion.note(run.model, candidate, verdict, why, self._closing(run, state, why.reason))
