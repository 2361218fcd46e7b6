"""Evaluation: the arms answer the same held-out items and the same suites, through the engine that will serve.

It owns which rows each arm may learn from and what is written down of the answers; which holdout is asked is
holdouts' choice, the verdict the gate's. What is asked once is kept, so that an evaluation that was cut short goes
on where it was.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np

from core.db import evaluations, runs
from core.db.store import Store
from core.errors import InputError
from core.model_folder import ModelFolder, fingerprint
from core.prompts import subject
from core.records import Version
from core.settings import GENERATE_PRIMARY, EngineSettings, GuardedKpi, ModelSettings, nearest
from eval import holdouts, linear_baseline
from eval.arms import Arm, Item, of_version, prompted, retrieving
from eval.cost_benefit import CostBenefit, compute_cost_benefit, priced
from eval.engine_queries import Progress, QueryRunner, ReplyCache
from eval.gates.offline import spent_level
from eval.kpis import classification
from eval.kpis.evidence import Evidence, Measure, SuiteEvidence, measure, suite, user_numbers
from eval.ledger_evidence import plain_evidence, plain_measures
from eval.llm_judge import JudgedPairs, LlmJudge, compare
from eval.measure import reference_free, texts
from eval.measure.labels import Labels, score
from eval.measure.texts import Written
from eval.regressions import regressions
from eval.retrieval_corpus import gather
from eval.suites.files import find_suite, read_golden_file
from eval.suites.run import SuiteOutcomes, run_suite
from eval.suites.suite import Suite
from feedback.snapshot import Row, Snapshot
from serve.engines.vllm_client import VllmClient
from serve.retrieval.retriever import Retriever

DEV_ITEMS = 200
ENGINE = EngineSettings()
WIN_RATE = "judge_win_rate"
# Answers of both versions that may be cut before their lengths say nothing any more.
MOST_CUT = 0.2


@dataclass(frozen=True, slots=True)
class Opponents:
    """The arms that a candidate stands against, with the base prompt that won on dev."""

    arms: tuple[Arm, ...]
    base_prompt: str


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation found; `classic` holds TF-IDF with logistic regression on the same items."""

    evidence: Evidence
    classic: dict[str, Measure]
    base_prompt: str
    worth: CostBenefit | None = None

    def plain(self) -> dict[str, object]:
        """As JSON for the ledger."""
        more = {
            "base_prompt": self.base_prompt,
            "tfidf_logreg": plain_measures(self.classic),
            "worth": asdict(self.worth) if self.worth else None,
        }
        return plain_evidence(self.evidence) | more


def create_query_runner(
    client: VllmClient, store: Store, base: ModelFolder, settings: ModelSettings, engine: EngineSettings
) -> QueryRunner:
    """Asks an engine, and keeps what it says for as long as base model, engine and its arguments are the same."""
    started = json.dumps([engine.dtype, engine.extra_args])
    answers = ReplyCache(store, f"{fingerprint(base.path)} vllm {client.version()} {started}")
    answers.prune()
    return QueryRunner(client, concurrency=settings.evaluation.concurrency, answers=answers)


def suites_of(settings: ModelSettings) -> list[Suite]:
    """The suites and the golden file that the settings name. Raises InputError, also for guardrails of no KPI."""
    evaluation = settings.evaluation
    found = find_suite(evaluation.suites)
    if evaluation.golden:
        found.append(read_golden_file(evaluation.golden, settings.labels, evaluation.max_tokens))
    known = [*get_args(GuardedKpi), *(one.kpi for one in found)]
    for guardrail in settings.promotion.guardrails:
        if guardrail.kpi not in known:
            near = nearest(guardrail.kpi, known)
            raise InputError(
                f"promotion.guardrails: no suite gives {guardrail.kpi}.",
                hint=f"Did you mean {near}?" if near else "Name its suite.",
            )
    return found


def items_of(rows: Sequence[Row], settings: ModelSettings) -> list[Item]:
    """Rows as items, truth as the label's number."""
    return [Item(row.interaction_id, row.user, row.prompt, settings.labels.index(row.label)) for row in rows]


def rag(base: ModelFolder, snapshot: Snapshot, settings: ModelSettings, context_tokens: int | None = None) -> Arm:
    """Base with the nearest answered examples of the snapshot's train bucket, or the nearest passages of documents."""
    retriever = Retriever(gather(snapshot, settings, base.path, context_tokens).retrieval)
    return retrieving("rag", base.name, retriever, settings.evaluation.max_tokens)


def evaluate(
    store: Store,
    client: VllmClient,
    *,
    base: ModelFolder,
    model: str,
    settings: ModelSettings,
    snapshot: Snapshot,
    champion: Version,
    candidate: Version,
    run_id: str,
    judge: LlmJudge | None = None,
    engine: EngineSettings = ENGINE,
    progress: Progress = lambda done, total: None,
) -> Result:
    """Decides nothing: asks all arms one holdout and every suite, and returns the evidence.

    A candidate that is a retrieval is the RAG arm itself.
    """
    asked = create_query_runner(client, store, base, settings, engine)
    suites = suites_of(settings)
    itself = candidate.kind == "retrieval"
    rival = None if itself else rag(base, snapshot, settings, engine.max_model_len)
    against = _opponents(asked, base.name, champion, rival, snapshot, settings)
    holdout = holdouts.reserve(store, model, run_id, snapshot, settings)
    rows = holdout.rows
    arms = (*against.arms, of_version("candidate", candidate, settings.evaluation.max_tokens))
    evidence, written = _measured(asked, base.name, arms, rows, settings, use=holdout.use, progress=progress)
    worst = regressions(rows, written, settings)
    names = {arm.name: arm.engine_name for arm in arms if arm.name != "rag"}
    rewrites = {arm.name: arm.rewrite for arm in arms if arm.name in ("champion", "candidate")}
    probed = [run_suite(asked, base.name, names, one, progress, rewrites) for one in suites]
    found = {one.suite.kpi: suite_evidence(one, settings) for one in probed}
    more = reference_free.measured(
        asked,
        base.name,
        arms,
        store=store,
        model=model,
        settings=settings,
        snapshot=snapshot,
        holdout=holdout,
        progress=progress,
    )
    found |= more.suites
    if judge:
        judged = _compared(judge, rows, written, settings, progress)
        found[WIN_RATE] = _win_rate(judged, rows, settings)
        ours = evidence.arms["candidate"] | _about(judged)
        evidence = replace(evidence, arms=evidence.arms | {"candidate": ours})
    evidence = replace(
        evidence, holdout=holdout.name, champion_is_base=not champion.is_adapter, candidate_is_rag=itself, suites=found
    )
    whole = priced(more.joined(evidence), engine.price_per_hour)
    result = Result(
        whole,
        _classic(snapshot, rows, settings),
        against.base_prompt,
        compute_cost_benefit(
            whole, settings.promotion.primary.kpi, _training_seconds(store, run_id), engine.price_per_hour
        ),
    )
    versions = {"base": 0, "rag": 0, "champion": champion.version, "candidate": candidate.version}
    keep(
        store,
        run_id,
        model,
        f"holdout {holdout.name}",
        evidence.n,
        evidence.users,
        evidence.arms | {"tfidf_logreg": result.classic},
        versions,
    )
    with store.transaction() as transaction:
        evaluations.add_regression(transaction, [one | {"run_id": run_id} for one in worst])
    titles = {one.suite.kpi: one.suite.name for one in probed}
    for kpi, one in found.items():
        keep_suite(store, run_id, model, titles.get(kpi, kpi), one, versions)
    return result


def _compared(
    judge: LlmJudge, rows: Sequence[Row], written: Mapping[str, Written], settings: ModelSettings, progress: Progress
) -> JudgedPairs:
    """The judge's word on candidate and champion, over the holdout's first items."""
    count = settings.evaluation.judge.items if settings.evaluation.judge else len(rows)
    ours, theirs = (written[arm].texts[:count] for arm in ("candidate", "champion"))
    return compare(judge, [row.prompt for row in rows[:count]], ours, theirs, progress)


def _win_rate(judged: JudgedPairs, rows: Sequence[Row], settings: ModelSettings) -> SuiteEvidence:
    """What a gate is given of a judge; the interval is over users."""
    if judged.missing:
        return SuiteEvidence(WIN_RATE, 0, {}, missing=judged.missing)
    whole = np.isfinite(judged.wins)
    users = user_numbers([row.user for row, kept in zip(rows, whole, strict=False) if kept])
    return suite(
        WIN_RATE,
        {"candidate": judged.wins[whole]},
        level=settings.promotion.alpha,
        users=users,
        resamples=settings.evaluation.bootstrap,
        seed=settings.retrain.seed,
    )


def _about(judged: JudgedPairs) -> dict[str, Measure]:
    """How far a judge's word can be relied on."""
    values = {"judge_consistency": judged.consistency, "judge_length_controlled": judged.length_controlled}
    return {name: Measure(value, math.nan, math.nan) for name, value in values.items()}


def _opponents(
    asked: QueryRunner,
    base_name: str,
    champion: Version,
    rival: Arm | None,
    snapshot: Snapshot,
    settings: ModelSettings,
) -> Opponents:
    """Base with its best prompt, RAG where it is a rival, and the champion."""
    instruction = _best_prompt(asked, base_name, snapshot, settings)
    arms = (
        prompted(base_name, instruction),
        *([rival] if rival else []),
        of_version("champion", champion, settings.evaluation.max_tokens),
    )
    return Opponents(arms, instruction)


def _best_prompt(asked: QueryRunner, base_name: str, snapshot: Snapshot, settings: ModelSettings) -> str:
    """The base prompt with the best primary KPI on dev; an empty text means the app's own.

    Where the primary is none of the answers' themselves, token F1 is in its place.
    """
    choices = ["", *settings.baselines.prompts]
    rows = snapshot.of("dev")[:DEV_ITEMS]
    if len(choices) == 1 or not rows:
        return ""
    arms = [Arm(str(place), base_name, prompted(base_name, text).rewrite) for place, text in enumerate(choices)]
    quick = settings.model_copy(
        update={"evaluation": settings.evaluation.model_copy(update={"latency_items": 0, "bootstrap": 200})}
    )
    found, _ = _measured(asked, base_name, arms, rows, quick, use=1)
    kpi = settings.promotion.primary.kpi
    kpi = kpi if kpi in found.arms[arms[0].name] else GENERATE_PRIMARY
    return choices[int(np.nanargmax([found.arms[arm.name][kpi].value for arm in arms]))]


def _measured(
    asked: QueryRunner,
    base_name: str,
    arms: Sequence[Arm],
    rows: Sequence[Row],
    settings: ModelSettings,
    *,
    use: int,
    progress: Progress = lambda done, total: None,
) -> tuple[Evidence, Mapping[str, Any]]:
    """Evidence of held-out rows as the model's task has it, with what the arms answered: scores, or texts."""
    promotion, evaluation = settings.promotion, settings.evaluation
    users = user_numbers([row.user for row in rows])
    how = {
        "primary": promotion.primary.kpi,
        "primary_level": spent_level(promotion.alpha, use),
        "level": promotion.alpha,
        "resamples": evaluation.bootstrap,
        "seed": settings.retrain.seed,
        "holdout_use": use,
    }
    if settings.task == "generate":
        written = texts.write(
            asked,
            arms,
            [(row.prompt, row.label) for row in rows],
            max_tokens=evaluation.max_tokens,
            latency_items=evaluation.latency_items,
            progress=progress,
        )
        return texts.measure(users, written, **how), written
    items = items_of(rows, settings)
    labels = Labels(asked, base_name, settings.labels)
    found = score(asked, arms, items, labels, latency_items=evaluation.latency_items, progress=progress)
    return measure(np.array([item.truth for item in items]), users, found, **how), found


def suite_evidence(probed: SuiteOutcomes, settings: ModelSettings) -> SuiteEvidence:
    """What a gate is given of a suite."""
    missing = probed.missing or _blind(probed)
    if missing:
        return SuiteEvidence(probed.suite.kpi, 0, {}, missing=missing, better=probed.suite.better)
    return suite(
        probed.suite.kpi,
        probed.outcomes,
        level=settings.promotion.alpha,
        better=probed.suite.better,
        resamples=settings.evaluation.bootstrap,
        seed=settings.retrain.seed,
    )


def _blind(probed: SuiteOutcomes) -> str:
    """Why lengths would look alike whatever they are; empty where they would not."""
    shares = [probed.cut[arm] for arm in ("champion", "candidate") if arm in probed.cut]
    if probed.suite.measure != "length" or len(shares) < 2 or min(shares) <= MOST_CUT:
        return ""
    return (
        f"at least {min(shares):.0%} of both versions' answers to {probed.suite.name} were cut, so that a change "
        "in length would not show; raise its max_tokens, or waive it"
    )


def _training_seconds(store: Store, run_id: str) -> float | None:
    """How long the candidate's training took; None for one that was not trained here."""
    steps = [row for row in runs.metrics(store, run_id=run_id) if row["phase"] == "training"]
    return json.loads(steps[-1]["metrics"]).get("seconds") if steps else None


def _classic(snapshot: Snapshot, rows: Sequence[Row], settings: ModelSettings) -> dict[str, Measure]:
    if settings.task == "generate":
        return {}
    items = items_of(rows, settings)
    truth = np.array([item.truth for item in items])
    scores = classic_scores(snapshot, items, settings)
    return {name: Measure(kpi(truth, scores), math.nan, math.nan) for name, kpi in classification.POINT.items()}


def classic_scores(snapshot: Snapshot, items: Sequence[Item], settings: ModelSettings) -> classification.Floats:
    """TF-IDF with logistic regression, learnt from the train bucket: probabilities (n, labels)."""
    train = [(subject(item.prompt), item.truth) for item in items_of(snapshot.of("train"), settings)]
    texts = [subject(item.prompt) for item in items]
    return linear_baseline.tfidf_logreg_probabilities(train, texts, len(settings.labels), settings.retrain.seed)


def keep_suite(
    store: Store, run_id: str, model: str, name: str, found: SuiteEvidence, versions: dict[str, int]
) -> None:
    """Writes a suite's KPI down for each arm."""
    arms = {arm: {found.kpi: measured} for arm, measured in found.arms.items()}
    keep(store, run_id, model, name, found.n, found.users or found.n, arms, versions)


def keep(
    store: Store,
    run_id: str,
    model: str,
    name: str,
    n: int,
    users: int,
    arms: dict[str, dict[str, Measure]],
    versions: dict[str, int],
) -> None:
    """Writes KPIs down. An arm without a version is no version of the model."""
    rows = [
        {
            "run_id": run_id,
            "model": model,
            "suite": name,
            "arm": arm,
            "version": versions.get(arm),
            "kpi": kpi,
            "value": m.value,
            "low": m.low,
            "high": m.high,
            "n": n,
            "users": users,
        }
        for arm, measures in arms.items()
        for kpi, m in measures.items()
    ]
    with store.transaction() as transaction:
        evaluations.add(transaction, rows)
