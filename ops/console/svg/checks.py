"""A gate's check in words: its name, and its numbers in the units and with the sign of its sentence. Pure functions."""

import math
from collections.abc import Mapping
from typing import Any

from eval.ledger_evidence import check_fields
from ops.console.svg.primitives import finite, number, rises

Plain = Mapping[str, Any]
# The kind of a check of a live test, by its name, for entries from before the kind was recorded.
NAMES = {"harm": "harm", "answers outside the labels": "stray_answers", "readable": "readable"}
SHOWN = {"readable": "counts of both arms", "harm": "users harmed"}
EVIDENCE, SCORES = ("harm", "stray_answers"), ("worse", "better", "anchor")


def check_name(check: Plain) -> str:
    """The name of a check as people read it."""
    return SHOWN.get(str(check["name"]), str(check["name"]))


def check_numbers(check: Plain) -> tuple[str, str, str]:
    """What was measured, the threshold and the bound, in words. Empty where there is no such number.

    Evidence of harm is stored as a logarithm, and is shown as a factor. Scores from -2 to +2 are shown as points of
    approval. The harm of a KPI that should be high is shown as the difference from the champion.
    """
    value, threshold, bound = (finite(check.get(name)) for name in ("value", "threshold", "bound"))
    kind, kpi, _ = check_fields(check)
    kind = kind or NAMES.get(str(check["name"]), "")
    if kind in EVIDENCE:
        return _labelled("evidence", _times(value)), _labelled("proven from", _times(threshold)), ""
    if kind in SCORES:
        words = [None if x is None else f"{50 * x:+.1f} points" for x in (value, threshold, bound)]
    elif kind == "sample_ratio":
        return _labelled("p", _number(value)), _labelled("at least", _number(threshold)), ""
    else:
        turn = -1 if kind == "margin" and kpi is not None and rises(kpi) else 1
        signed = kind in ("gain", "margin")
        words = [None if x is None else number(turn * x, sign=signed) for x in (value, threshold, bound)]
    return _labelled("measured", words[0]), _labelled("threshold", words[1]), _labelled("bound", words[2])


def _labelled(word: str, found: str | None) -> str:
    return "" if found is None else f"{word} {found}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _times(value: float | None) -> str | None:
    """A logarithm as a factor; a factor of a million says no more than that it is large."""
    if value is None:
        return None
    return f"{math.exp(value):.1f}×" if value < math.log(1e6) else "over 1,000,000×"
