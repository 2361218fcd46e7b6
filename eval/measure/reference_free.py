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
from feedback.snapshot import choose_clusters


@dataclass(frozen=True, slots=True)
class ReferenceFree:
    """The KPIs as suites. Preference accuracy is also an arm's KPI, because it may be the primary KPI."""

    suites: Mapping[str, SuiteEvidence] = field(default_factory=dict)
    preferred: PreferenceResult | None = None

    def added_to(self, evidence: Evidence) -> Evidence:
        """The evidence with preference accuracy among the arms' KPIs and differences, if it was measured."""
        if self.preferred is None or self.preferred.suite.missing:
            return evidence
        kpi, measures = preferences.ACCURACY, self.preferred.suite.arms
        arms = {arm: kpis | ({kpi: measures[arm]} if arm in measures else {}) for arm, kpis in evidence.arms.items()}
        return replace(evidence, arms=arms, differences=evidence.differences | {kpi: dict(self.preferred.differences)})


def measure_reference_free(
    engine: EngineContext,
    arms: Sequence[Arm],
    task: EvaluationTask,
    holdout: Holdout,
    plan: BootstrapPlan,
    store: Store,
) -> ReferenceFree:
    """Drift from the base model, preference accuracy and the AUC of thumbs. Empty for a model that classifies.

    Retrieval, whose prompts are the longest, scores pairs only if preference accuracy is the primary KPI.
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
    pairs, left_out = heldout_votes.preferences(
        stored_votes.preferences(store, model=task.model, low=low, high=high), bucket
    )
    thumbs, _ = heldout_votes.thumbs(stored_votes.thumbs(store, model=task.model, low=low, high=high), bucket)
    reserve_users(store, task.model, holdout, {vote.user for vote in (*pairs, *thumbs)})
    without_rag = [arm for arm in arms if arm.name != "rag"]
    compared = arms if settings.promotion.primary.kpi == preferences.ACCURACY else without_rag
    preferred = preferences.preference_accuracy(engine, compared, pairs, left_out, plan)
    rows = holdout.rows[: likelihood.KL_ITEMS]
    (candidate,) = (arm for arm in arms if arm.name == "candidate")
    sums, tokens = likelihood.drift(
        engine, candidate, [row.prompt for row in rows], max_tokens=settings.evaluation.max_tokens, seed=plan.seed
    )
    users = user_numbers([row.user for row in rows])
    suites = {
        likelihood.KL: likelihood.kl_to_base(sums, tokens, users, plan),
        preferences.ACCURACY: preferred.suite,
        preferences.AUC: preferences.thumbs_auc(engine, without_rag, thumbs, plan),
    }
    return ReferenceFree(suites, preferred)
