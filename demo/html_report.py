"""The demo's page: report.json as one HTML file that needs nothing else.

This module chooses the order of sections and the first sentence. It must not measure or decide anything.
"""

import math
from collections.abc import Mapping
from typing import Any

from ops.console.rendering import environment
from ops.console.svg.evidence import arm_bars, durations
from ops.console.svg.live import approval

Plain = Mapping[str, Any]

ARMS = ("candidate", "champion", "rag", "base")
OTHERS = ("vader", "human_raters", "tfidf_logreg")
PICTURED = ("macro_f1", "accuracy", "weighted_f1", "roc_auc")


def render(report: dict[str, Any]) -> str:
    """The report as a page; sections whose data the report lacks are left out."""
    templates = environment("demo")
    templates.filters.update(plain=plain, lasting=lasting, percent=percent)
    templates.globals.update(approval=approval, arm_bars=arm_bars, durations=durations)
    arms = report["arms"]
    return templates.get_template("report.html").render(
        r=report,
        outcome=outcome(report),
        decision=report.get("decision") or {},
        arms={arm: arms[arm] for arm in ARMS if arm in arms},
        others={name: report[name] for name in OTHERS if report.get(name)},
        pictured=[kpi for kpi in PICTURED if any(arm.get(kpi) is not None for arm in arms.values())],
        targets=sorted(report.get("targets") or [], key=lambda target: target["met"]),
    )


def outcome(report: Plain) -> str:
    """What came of it in one sentence: whether the candidate took over, and by how much it won or lost."""
    decision = report.get("decision") or {}
    champion, candidate = report["arms"].get("champion"), report["arms"].get("candidate")
    start = {
        "promoted": "The retrained adapter won its gates and took over",
        "kept": "The retrained adapter did not pass the gate, and the champion stays",
        "rolled_back": "The retrained adapter was tried on live users and withdrawn",
        "inconclusive": "The retrained adapter could not be shown to win, so the champion stays",
        "awaiting_approval": "The retrained adapter passed its gates and waits for a person's approval",
        "rejected": "The retrained adapter was rejected by a person",
        "canary_started": "The retrained adapter passed the offline gate; its live test was still open at the end",
        "skipped": "No adapter was trained",
        "failed": "The run failed, so nothing was promoted",
    }.get(decision.get("verdict", ""), "No decision was reached, so nothing was promoted")
    if not candidate or not champion:
        reason = str(decision.get("reason") or "").strip()
        return f"{start}: {reason}" if reason else f"{start}."
    against = [_points(candidate, champion, "the champion")]
    if "base" in report["arms"]:
        against.append(_points(candidate, report["arms"]["base"], "the prompted base model"))
    return (
        f"{start}: it got {candidate['accuracy']:.1%} of {report['test_items']} held-out texts right, "
        f"{' and '.join(against)}; macro F1 went from {champion['macro_f1']:.3f} to {candidate['macro_f1']:.3f}."
    )


def _points(candidate: Plain, other: Plain, name: str) -> str:
    gain = round((candidate["accuracy"] - other["accuracy"]) * 100, 1)
    words = "as many as" if gain == 0 else f"{abs(gain):.1f} points {'more' if gain > 0 else 'fewer'} than"
    return f"{words} {name} ({other['accuracy']:.1%})"


def plain(value: Any) -> str:
    """A value of any kind as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return "–" if value is None else str(value)


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "–" if share is None else f"{share:.1%}"


def lasting(seconds: float | None) -> str:
    """Seconds as `4 min 05 s`."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
