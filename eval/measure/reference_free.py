"""Unreferenced: what a model that generates is judged by without a right answer, from likelihoods and held-out votes.

It owns which arms and votes are asked about and how the KPIs join an evaluation's evidence; the KPIs themselves
stand in `eval.measure.likelihood` and `eval.measure.preferences`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.db import feedback
from core.db.store import Store
from core.settings import ModelSettings
from eval.arms import Arm
from eval.engine_queries import Progress, QueryRunner
from eval.gates.offline import spent_level
from eval.holdouts import Holdout, reserve_users
from eval.kpis.evidence import Evidence, SuiteEvidence, user_numbers
from eval.measure import likelihood, preferences
from eval.measure.preferences import Preferred, Resampling
from feedback import heldout_votes
from feedback.heldout_votes import Bucket
from feedback.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Unreferenced:
    """KPIs as suites are; preference accuracy stands beside the KPIs of references too, as it may be the primary."""

    suites: Mapping[str, SuiteEvidence] = field(default_factory=dict)
    preferred: Preferred | None = None

    def joined(self, evidence: Evidence) -> Evidence:
        """The evidence with preference accuracy among the arms' KPIs and differences, where it was measured."""
        if self.preferred is None or self.preferred.suite.missing:
            return evidence
        kpi, found = preferences.ACCURACY, self.preferred.suite.arms
        arms = {arm: kpis | ({kpi: found[arm]} if arm in found else {}) for arm, kpis in evidence.arms.items()}
        return replace(evidence, arms=arms, differences=evidence.differences | {kpi: dict(self.preferred.differences)})


def measured(
    asker: QueryRunner,
    base_name: str,
    arms: Sequence[Arm],
    *,
    store: Store,
    model: str,
    settings: ModelSettings,
    snapshot: Snapshot,
    holdout: Holdout,
    progress: Progress,
) -> Unreferenced:
    """Drift from the base model, preference accuracy and the AUC of thumbs, of a model that generates.

    Retrieval is asked about pairs only where it must be beaten on them: its prompts are the longest.
    """
    if settings.task != "generate":
        return Unreferenced()
    promotion, resamples, seed = settings.promotion, settings.evaluation.bootstrap, settings.retrain.seed
    primary = promotion.primary.kpi == preferences.ACCURACY
    level = spent_level(promotion.alpha, holdout.use) if primary else promotion.alpha
    how = Resampling(level, resamples, seed)
    own = [arm for arm in arms if arm.name != "rag"]
    bucket = Bucket(holdout.bucket, settings, snapshot.of("train"), holdout.before)
    pairs, left_out = heldout_votes.preferences(
        heldout_votes.standing(feedback.preference_votes(store, model=model)), bucket
    )
    thumbs, _ = heldout_votes.thumbs(heldout_votes.standing(feedback.label_votes(store, model=model)), bucket)
    reserve_users(store, model, holdout, {one.user for one in (*pairs, *thumbs)})
    preferred = preferences.accuracy(asker, base_name, arms if primary else own, pairs, left_out, how, progress)
    rows = holdout.rows[: likelihood.KL_ITEMS]
    (candidate,) = (arm for arm in arms if arm.name == "candidate")
    drift = likelihood.drift(
        asker,
        base_name,
        candidate,
        [row.prompt for row in rows],
        max_tokens=settings.evaluation.max_tokens,
        seed=seed,
        progress=progress,
    )
    users = user_numbers([row.user for row in rows])
    suites = {
        likelihood.KL: likelihood.kl_to_base(*drift, users, resamples=resamples, seed=seed),
        preferences.ACCURACY: preferred.suite,
        preferences.AUC: preferences.thumbs_auc(asker, base_name, own, thumbs, how, progress),
    }
    return Unreferenced(suites, preferred)
