"""Measure a model that generates without reference answers: by likelihoods and held-out votes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.db import heldout_votes as stored_votes
from core.db.store import Store
from eval.arm_definitions import Arm
from eval.context import EvaluationTask
from eval.engine_queries import EngineContext
from eval.holdouts import Holdout, reserve_users
from eval.kpis.bootstrap import BootstrapPlan, user_numbers
from eval.kpis.evidence import Evidence, SuiteEvidence
from eval.measure import likelihood, preferences
from eval.measure.preferences import PreferenceResult
from feedback import heldout_votes
from feedback.heldout_votes import Bucket
from feedback.pairs import Pair
from feedback.snapshot import Report, choose_clusters


@dataclass(frozen=True, slots=True)
class ReferenceFree:
    """The KPIs as suites. Those of preferences are also KPIs of arms, because they may be the primary KPI."""

    suites: Mapping[str, SuiteEvidence] = field(default_factory=dict)
    preferred: Mapping[str, PreferenceResult] = field(default_factory=dict)

    def added_to(self, evidence: Evidence) -> Evidence:
        """The evidence with the KPIs of preferences among the arms' KPIs and differences, if they were measured."""
        for kpi, found in self.preferred.items():
            if not found.suite.missing:
                arms = {
                    arm: kpis | ({kpi: found.suite.arms[arm]} if arm in found.suite.arms else {})
                    for arm, kpis in evidence.arms.items()
                }
                differences = evidence.differences | {kpi: dict(found.differences)}
                evidence = replace(evidence, arms=arms, differences=differences)
        return evidence


def measure_reference_free(
    engine: EngineContext,
    arms: Sequence[Arm],
    task: EvaluationTask,
    holdout: Holdout,
    plan: BootstrapPlan,
    store: Store,
) -> ReferenceFree:
    """Drift from the base model, KPIs of preferences and the AUC of thumbs. Empty for a model that classifies.

    Retrieval, whose prompts are the longest, scores pairs only if the primary KPI is one of preferences.
    """
    settings = task.settings
    if settings.task != "generate":
        return ReferenceFree()
    trust = settings.trust
    bucket = Bucket(
        holdout.bucket,
        settings,
        task.snapshot.of("train"),
        holdout.before,
        flagged=stored_votes.flagged(store, model=task.model, flag_voters=trust.flag_voters),
        clusters=choose_clusters(store, task.model, trust.duplicate_similarity, known=True),
    )
    low, high = bucket.places
    pairs, left_out = unlearnt(holdout.pairs, bucket, task.snapshot.report)
    thumbs, _ = heldout_votes.thumbs(stored_votes.thumbs(store, model=task.model, low=low, high=high), bucket)
    reserve_users(store, task.model, holdout, {vote.user for vote in (*pairs, *thumbs)})
    without_rag = [arm for arm in arms if arm.name != "rag"]
    compared = arms if settings.promotion.primary.is_of_preferences else without_rag
    preferred = preferences.compare_preferences(engine, compared, pairs, left_out, plan)
    rows = holdout.rows[: likelihood.KL_ITEMS]
    (candidate,) = (arm for arm in arms if arm.name == "candidate")
    sums, tokens = likelihood.drift(
        engine, candidate, [row.prompt for row in rows], max_tokens=settings.evaluation.max_tokens, seed=plan.seed
    )
    users = user_numbers([row.user for row in rows])
    suites = {
        likelihood.KL: likelihood.kl_to_base(sums, tokens, users, plan),
        preferences.AUC: preferences.thumbs_auc(engine, without_rag, thumbs, plan),
    }
    return ReferenceFree(suites | {kpi: found.suite for kpi, found in preferred.items()}, preferred)


def unlearnt(pairs: Sequence[Pair], bucket: Bucket, report: Report) -> tuple[list[Pair], Mapping[str, int]]:
    """Pairs whose prompt is not one of a row to learn from, and the votes that make no pair, by reason."""
    learnt = bucket.learnt([(pair.interaction_id, pair.prompt) for pair in pairs])
    left_out = dict(report.pairs.get("left_out", {}))
    if any(learnt):
        left_out["same text as one to learn from"] = sum(learnt)
    return [pair for pair, known in zip(pairs, learnt, strict=True) if not known], left_out
