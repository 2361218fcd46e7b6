"""Evaluate a candidate: all arms answer the same held-out items and suites, through the engine that will serve.

An evaluation decides nothing. If it is interrupted, it continues from its cached replies with the same holdout.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from core.db import evaluations, runs
from core.db.store import Store
from core.model_folder import ModelFolder, fingerprint
from core.settings import EngineSettings, ModelSettings
from eval import holdouts
from eval.arm_definitions import Arm, of_version, prompted
from eval.baselines import best_prompt, rag_arm, tfidf_kpis
from eval.context import EvaluationTask, bootstrap_plan
from eval.cost_benefit import CostBenefit, compute_cost_benefit, priced
from eval.engine_queries import EngineContext, Progress, QueryRunner, ReplyCache, ignore_progress
from eval.kpis.bootstrap import BootstrapPlan
from eval.kpis.evidence import Evidence, Measure, SliceEvidence
from eval.kpis.label_selection import LabelSelection
from eval.label_selection import selection_of
from eval.ledger_evidence import plain_evidence, plain_measures
from eval.llm_judge import LlmJudge
from eval.measure.reference_free import ReferenceFree, measure_reference_free
from eval.measure.rows import Answers, measure_rows
from eval.measure.texts import ArmTexts
from eval.measure.win_rate import WIN_RATE, judge_answers, reliability, win_rate
from eval.regressions import find_regressions
from eval.slices import measure_slices, preference_slices
from eval.stored_results import store_kpis, store_suite
from eval.suites.configured import configured_suites
from eval.suites.run import run_suite, suite_evidence
from feedback.snapshot import Row
from serve.engines.control_client import VllmClient

ENGINE = EngineSettings()


@dataclass(frozen=True, slots=True)
class Result:
    """The evidence, the KPIs of TF-IDF with logistic regression on the same items, and the best base prompt."""

    evidence: Evidence
    tfidf: dict[str, Measure]
    base_prompt: str
    cost_benefit: CostBenefit | None = None

    def plain(self) -> dict[str, object]:
        """As JSON for the ledger."""
        more = {
            "base_prompt": self.base_prompt,
            "tfidf_logreg": plain_measures(self.tfidf),
            "worth": asdict(self.cost_benefit) if self.cost_benefit else None,
        }
        return plain_evidence(self.evidence) | more


def create_query_runner(
    client: VllmClient, store: Store, base: ModelFolder, settings: ModelSettings, engine: EngineSettings
) -> QueryRunner:
    """A query runner whose cached replies are valid for the same base model, vLLM version and engine arguments."""
    arguments = json.dumps([engine.dtype, engine.extra_args])
    cache = ReplyCache(store, f"{fingerprint(base.path)} vllm {client.version()} {arguments}")
    return QueryRunner(client, concurrency=settings.evaluation.concurrency, cache=cache)


def evaluate(
    task: EvaluationTask,
    *,
    store: Store,
    client: VllmClient,
    base: ModelFolder,
    engine_settings: EngineSettings = ENGINE,
    judge: LlmJudge | None = None,
    progress: Progress = ignore_progress,
) -> Result:
    """Measure all arms on one holdout and on every suite, store the results, and return the evidence.

    A candidate that uses retrieval is itself the RAG arm. Raises InputError for wrong suites, NotReady without a
    holdout, and EngineError.
    """
    settings, snapshot, primary = task.settings, task.snapshot, task.settings.promotion.primary.kpi
    runner = create_query_runner(client, store, base, settings, engine_settings)
    engine = EngineContext(runner, base.name, progress)
    suites = configured_suites(settings)
    instruction = best_prompt(engine, snapshot, settings)
    versions = _versions(task)
    arms = [prompted(base.name, instruction), *_rag_arms(task, base, engine_settings), *versions]

    holdout = holdouts.reserve(store, task.model, task.run_id, snapshot, settings)
    plan = bootstrap_plan(settings, holdout.use)
    selection = selection_of(store, task.model, holdout.rows, settings)
    evidence, answers = measure_rows(
        engine,
        arms,
        holdout.rows,
        settings,
        plan,
        latency_items=settings.evaluation.latency_items,
        holdout_use=holdout.use,
        selection=selection,
    )
    suite_arms = [Arm("base", base.name), *versions]
    measured = {suite.kpi: suite_evidence(run_suite(engine, suite_arms, suite), settings) for suite in suites}
    reference_free = measure_reference_free(engine, arms, task, holdout, plan, store)
    measured |= reference_free.suites
    if judge:
        judged = judge_answers(judge, holdout.rows, *_texts(answers), settings, progress)
        measured[WIN_RATE] = win_rate(judged, holdout.rows, plan)
        candidate = evidence.arms["candidate"] | reliability(judged)
        evidence = replace(evidence, arms=evidence.arms | {"candidate": candidate})
    evidence = replace(
        evidence,
        holdout=holdout.name,
        champion_is_base=not task.champion.is_adapter,
        candidate_is_rag=task.candidate.kind == "retrieval",
        suites=measured,
        slices=_slices(task, store, holdout.rows, answers, reference_free, plan, selection),
    )
    tfidf = tfidf_kpis(snapshot, holdout.rows, settings)
    _store(store, task, evidence, tfidf, {suite.kpi: suite.name for suite in suites})
    _store_regressions(store, task, holdout.rows, answers)
    evidence = priced(reference_free.added_to(evidence), engine_settings.price_per_hour)
    training_seconds = _training_seconds(store, task.run_id)
    cost_benefit = compute_cost_benefit(evidence, primary, training_seconds, engine_settings.price_per_hour)
    return Result(evidence, tfidf, instruction, cost_benefit)


def _slices(
    task: EvaluationTask,
    store: Store,
    rows: Sequence[Row],
    answers: Answers,
    reference_free: ReferenceFree,
    plan: BootstrapPlan,
    selection: LabelSelection | None,
) -> SliceEvidence | None:
    """Slices of what judges: preferences if the primary KPI is one of them, else rows."""
    primary = task.settings.promotion.primary
    if primary.is_of_preferences:
        return preference_slices(store, reference_free.preferred[primary.kpi], task.settings, plan)
    return measure_slices(store, rows, answers, task.settings, plan, selection)


def _versions(task: EvaluationTask) -> list[Arm]:
    both = {"champion": task.champion, "candidate": task.candidate}
    return [of_version(name, version, task.settings.evaluation.max_tokens) for name, version in both.items()]


def _rag_arms(task: EvaluationTask, base: ModelFolder, engine: EngineSettings) -> list[Arm]:
    """The RAG arm. None if the candidate uses retrieval and is itself that arm."""
    if task.candidate.kind == "retrieval":
        return []
    return [rag_arm(base, task.snapshot, task.settings, engine.max_model_len)]


def _texts(answers: Answers) -> tuple[ArmTexts, ArmTexts]:
    """The texts of candidate and champion. A judge is only configured for a model that generates."""
    candidate, champion = answers["candidate"], answers["champion"]
    assert isinstance(candidate, ArmTexts) and isinstance(champion, ArmTexts)
    return candidate, champion


def _store(
    store: Store, task: EvaluationTask, evidence: Evidence, tfidf: dict[str, Measure], suite_names: dict[str, str]
) -> None:
    versions = {"base": 0, "rag": 0, "champion": task.champion.version, "candidate": task.candidate.version}
    arms, name = evidence.arms | {"tfidf_logreg": tfidf}, f"holdout {evidence.holdout}"
    store_kpis(store, task.run_id, task.model, name, arms, versions, n=evidence.n, users=evidence.users)
    for kpi, suite in evidence.suites.items():
        store_suite(store, task.run_id, task.model, suite_names.get(kpi, kpi), suite, versions)


def _store_regressions(store: Store, task: EvaluationTask, rows: Sequence[Row], answers: Answers) -> None:
    """Store the items that the candidate lost to the champion. The same ones again change nothing."""
    worst = find_regressions(rows, answers, task.settings)
    with store.transaction() as transaction:
        evaluations.add_regression(transaction, [row | {"run_id": task.run_id} for row in worst])


def _training_seconds(store: Store, run_id: str) -> float | None:
    """How long the candidate's training took. None for a candidate that was not trained in this run."""
    steps = [row for row in runs.metrics(store, run_id=run_id) if row["phase"] == "training"]
    return json.loads(steps[-1]["metrics"]).get("seconds") if steps else None
