"""The learning curve of a run: trainings with shares of its rows, and whether more rows would help.

Pure functions with reasons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from eval.kpis.bootstrap import interval
from retrain.progress import duration
from retrain.search.trials import LEAST_DEV_ROWS
from retrain.trainer.job import Report

# Each share is a part of the next one.
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
RESAMPLES = 1000
State = Literal["running", "complete", "failed"]


@dataclass(frozen=True, slots=True)
class Point:
    """One training of a curve: its share of the train rows, its dev score, and its cost in seconds.

    `low` and `high` are the score's 95% interval over dev voters. They are None with too few voters. `reason` says why
    a training has failed.
    """

    share: float
    state: State = "running"
    rows: int | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float = 0.0
    reason: str = ""

    def with_report(self, report: Report | None) -> "Point":
        """Return the point with what its training reports. Without a score it has failed."""
        dev = (report.dev or {}) if report else {}
        if report is None or "samples" not in dev:
            return replace(self, state="failed", reason="The dev part has too few rows that can be scored.")
        low, high = interval_of(dev["samples"], dev["voters"])
        return replace(
            self, state="complete", rows=report.rows, score=dev["score"]["dev_score"], low=low, high=high, reason=""
        )


@dataclass(frozen=True, slots=True)
class CurvePlan:
    """Whether a run makes a learning curve, with the reason. An empty one means that nobody asked for a curve."""

    makes: bool
    reason: str


def plan_curve(mode: str, last_rows: int | None, *, method: str, rows: int, dev_rows: int) -> CurvePlan:
    """Return whether a run makes a curve. `last_rows` are the train rows of the last curve, None without one."""
    if mode == "off":
        return CurvePlan(False, "")
    if dev_rows < LEAST_DEV_ROWS:
        return CurvePlan(False, f"No learning curve: the dev part has {dev_rows} rows; {LEAST_DEV_ROWS} are needed.")
    if last_rows is None:
        return CurvePlan(True, f"No learning curve of {method.upper()} has been made yet.")
    if rows >= 2 * last_rows:
        return CurvePlan(True, f"The train rows have doubled, from {last_rows} to {rows}.")
    return CurvePlan(False, "")


def interval_of(samples: Sequence[float], voters: int) -> tuple[float | None, float | None]:
    """Return the 95% interval of a bootstrap over voters, None for a bound that cannot be computed."""
    low, high = interval(np.array(samples, dtype=np.float64), voters)
    return (round(low, 6), round(high, 6)) if math.isfinite(low) and math.isfinite(high) else (None, None)


def gain_of(points: Sequence[Point], half: Report | None, whole: Report | None) -> dict[str, Any] | None:
    """Return what all rows gain on half of them in dev score, with its 95% interval. None without one of the scores.

    Both trainings were scored on the same dev rows, and resampled with the same voters, so they form pairs.
    """
    first, second = points[-2], points[-1]
    if first.score is None or second.score is None or not (half and half.dev and whole and whole.dev):
        return None
    samples = np.array(whole.dev["samples"]) - np.array(half.dev["samples"])
    low, high = interval_of(samples.tolist(), whole.dev["voters"])
    return {"value": round(second.score - first.score, 6), "low": low, "high": high, "voters": whole.dev["voters"]}


def conclusion(points: Sequence[Point], gain: dict[str, Any] | None) -> str:
    """Return whether more rows would help, in words. Nothing is claimed where chance may explain the gain."""
    begin = f"The learning curve took {duration(sum(point.seconds for point in points))}."
    if gain is None:
        why = next((point.reason for point in points[-2:] if point.reason), "A score is missing.")
        return f"{begin} It does not say whether more rows would help. {why}"
    low, high = gain["low"], gain["high"]
    if low is None or high is None:
        few = f"the dev part has {gain['voters']} voters, too few for an interval"
        return f"{begin} It does not say whether more rows would help: {few}."
    step = f"From half of the rows to all, the dev score changed by {gain['value']:+.3f} ({low:+.3f} to {high:+.3f})."
    if low > 0:
        return f"{begin} {step} More rows would probably help."
    if high < 0:
        return f"{begin} {step} More rows of this kind made the score worse."
    return f"{begin} {step} That is within chance, so the curve does not say whether more rows would help."
