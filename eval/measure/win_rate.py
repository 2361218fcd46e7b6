"""Measure a candidate's win rate against the champion, as an LLM judge sees it."""

import math
from collections.abc import Sequence

import numpy as np

from core.settings import ModelSettings
from eval.engine_queries import Progress
from eval.kpis.bootstrap import BootstrapPlan, user_numbers
from eval.kpis.comparison import compare_outcomes
from eval.kpis.evidence import Measure, SuiteEvidence
from eval.llm_judge import JudgedPairs, LlmJudge, compare
from eval.measure.texts import ArmTexts
from feedback.snapshot import Row

WIN_RATE = "judge_win_rate"


def judge_answers(
    judge: LlmJudge,
    rows: Sequence[Row],
    candidate: ArmTexts,
    champion: ArmTexts,
    settings: ModelSettings,
    progress: Progress,
) -> JudgedPairs:
    """Let the judge compare the answers to the first rows."""
    count = settings.evaluation.judge.items if settings.evaluation.judge else len(rows)
    prompts = [row.prompt for row in rows[:count]]
    return compare(judge, prompts, candidate.texts[:count], champion.texts[:count], progress)


def win_rate(judged: JudgedPairs, rows: Sequence[Row], plan: BootstrapPlan) -> SuiteEvidence:
    """The win rate with its interval over users."""
    if judged.missing:
        return SuiteEvidence(WIN_RATE, 0, {}, missing=judged.missing)
    judged_pairs = np.isfinite(judged.wins)
    users = user_numbers([row.user for row, is_judged in zip(rows, judged_pairs, strict=False) if is_judged])
    return compare_outcomes(WIN_RATE, {"candidate": judged.wins[judged_pairs]}, plan, users=users)


def reliability(judged: JudgedPairs) -> dict[str, Measure]:
    """How reliable the judge is, as KPIs without bounds."""
    values = {"judge_consistency": judged.consistency, "judge_length_controlled": judged.length_controlled}
    return {kpi: Measure(value, math.nan, math.nan) for kpi, value in values.items()}
