"""Judge the evidence of a run by the offline gate, and make what the ledger keeps of it. Pure functions."""

from collections.abc import Sequence

from eval.gates.offline import decide, spent_level
from eval.ledger_evidence import kpi_rows, plain_checks
from retrain.runs import Run
from retrain.simple_classifier import warning_if_behind
from retrain.step_results import Decided, Evidence


def judge(run: Run, evidence: Evidence, labels: Sequence[str]) -> Decided:
    """The outcome of the offline gate. Its record has a warning where a simple classifier is as accurate."""
    promotion, result = evidence.judged_by.promotion, evidence.result
    judgement = decide(result.evidence, promotion)
    record = result.plain() | {
        "gate": plain_checks(judgement),
        "kpis": kpi_rows(result.evidence, judgement),
        "level_spent": spent_level(promotion.alpha, result.evidence.holdout_use),
        "primary": promotion.primary.kpi,
        "labels": labels,
    }
    if warning := warning_if_behind(result):
        record["warning"] = warning
    context = run.context(judgement.reason, evidence=record, lineage=evidence.lineage)
    return Decided(judgement.outcome, context)
