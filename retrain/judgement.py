"""Judge the evidence of a run by the offline gate, and make what the ledger keeps of it. Pure functions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.settings.kpi_names import FORGETTING
from eval.evaluation import Result
from eval.gates.offline import decide, spent_level
from eval.kpis.evidence import Measure, SuiteEvidence
from eval.ledger_evidence import kpi_rows, plain_checks
from retrain.runs import Run
from retrain.simple_classifier import warning_if_behind
from retrain.step_results import Decided, Evidence


def judge(run: Run, evidence: Evidence, labels: Sequence[str]) -> Decided:
    """The outcome of the offline gate. Its record has a warning where a simple classifier is as accurate."""
    promotion = evidence.judged_by.promotion
    result = with_forgetting(evidence.result, forgetting_of(evidence))
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


def forgetting_of(evidence: Evidence) -> Mapping[str, Any] | None:
    """What the candidate's trainer measured as forgetting, None without a measurement.

    A retrieval changes no weights: where a guardrail names forgetting, it is 0.
    """
    named = any(one.kpi == FORGETTING for one in evidence.judged_by.promotion.guardrails)
    if evidence.result.evidence.candidate_is_rag and named:
        return {"value": 0.0, "low": 0.0, "high": 0.0, "prompts": 0}
    return evidence.lineage.get("training", {}).get(FORGETTING)


def with_forgetting(result: Result, measured: Mapping[str, Any] | None) -> Result:
    """The result with forgetting as one of its suites, in nats per token. The same result without a measurement."""
    if measured is None:
        return result
    value, low, high = (math.nan if measured[name] is None else measured[name] for name in ("value", "low", "high"))
    found = SuiteEvidence(FORGETTING, measured["prompts"], {"candidate": Measure(value, low, high)})
    return replace(result, evidence=replace(result.evidence, suites={**result.evidence.suites, FORGETTING: found}))
