"""The values that the steps of an evaluation share."""

from dataclasses import dataclass

from core.records import Version
from core.settings import ModelSettings
from eval.gates.offline import spent_level
from eval.kpis.bootstrap import BootstrapPlan
from feedback.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """One candidate to evaluate: the run that made it, its snapshot, and the champion to compare it with."""

    run_id: str
    model: str
    settings: ModelSettings
    snapshot: Snapshot
    champion: Version
    candidate: Version


def bootstrap_plan(settings: ModelSettings, holdout_use: int | None = None) -> BootstrapPlan:
    """The bootstrap of the settings. With a use of a holdout, the primary KPI has the level of that use."""
    promotion = settings.promotion
    levels = {} if holdout_use is None else {promotion.primary.kpi: spent_level(promotion.alpha, holdout_use)}
    return BootstrapPlan(promotion.alpha, settings.evaluation.bootstrap, settings.retrain.seed, levels)
