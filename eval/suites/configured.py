"""The suites that a model's settings name."""

from typing import get_args

from core.errors import InputError
from core.settings import GuardedKpi, ModelSettings, nearest
from eval.suites.files import find_suites, read_golden_file
from eval.suites.suite import Suite


def configured_suites(settings: ModelSettings) -> list[Suite]:
    """The suites and the golden file of the settings. Raises InputError, also for a guardrail on an unknown KPI."""
    evaluation = settings.evaluation
    suites = find_suites(evaluation.suites)
    if evaluation.golden:
        suites.append(read_golden_file(evaluation.golden, settings.labels, evaluation.max_tokens))
    known = [*get_args(GuardedKpi), *(suite.kpi for suite in suites)]
    for guardrail in settings.promotion.guardrails:
        if guardrail.kpi not in known:
            near = nearest(guardrail.kpi, known)
            raise InputError(
                f"promotion.guardrails: no suite measures {guardrail.kpi}.",
                hint=f"Did you mean {near}?" if near else "Name its suite under evaluation.suites.",
            )
    return suites
