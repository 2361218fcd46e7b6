"""Pictures: evaluations and gates as inline SVG, made by pure functions from plain data.

It owns how arms, checks, confusions and durations are drawn; it must not fetch, judge or round what is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from eval.ledger_evidence import check_fields
from ops.console.svg.live import approval, confidence_sequence
from ops.console.svg.primitives import (
    ACCENT,
    BAD,
    GOOD,
    INK,
    MUTED,
    OPEN,
    PAPER,
    RULE,
    SMALL,
    WIDTH,
    Scale,
    arm_words,
    bottom_axis,
    box,
    dot,
    finite,
    fit,
    kpi_words,
    line,
    nothing,
    number,
    rises,
    svg,
    text,
    widened,
)

Plain = Mapping[str, Any]

# KPIs in the order of columns; all others follow by name.
COLUMNS = (
    "accuracy",
    "exact_match",
    "macro_f1",
    "weighted_f1",
    "token_f1",
    "chrf",
    "roc_auc",
    "brier",
    "ece",
    "invalid_mass",
    "p50_latency_ms",
    "p95_latency_ms",
    "prompt_tokens",
    "answer_tokens",
)
FOUR = ("base", "rag", "champion", "candidate")
ROW = 40.0
PLOT = (112.0, 256.0)
# Suites whose KPI is no share of items, so that it has no place on the scale of those that are.
OWN_UNITS = ("mean_length", "kl_to_base")
# Two measurements this near are one, read twice.
SAME = 1e-9
# Outcome of a check: mark, word, colour. The mark and the word carry it where colours are not seen.
OUTCOMES = {
    "pass": ("✓", "passes", GOOD),
    "fail": ("✗", "fails", BAD),
    "inconclusive": ("?", "not shown", OPEN),
    "wait": ("…", "waits", OPEN),
}


@dataclass(frozen=True, slots=True)
class _Mark:
    """One row of a dot plot; `kind` is an arm's name."""

    kind: str
    value: float | None
    low: float | None = None
    high: float | None = None


def interval_bars(evidence: Plain, kpi: str) -> Markup:
    """A KPI of the four arms as dots with 95 % intervals; a bound of None draws the dot alone."""
    arms = evidence["arms"]
    marks = []
    for arm in FOUR:
        found = arms.get(arm, {}).get(kpi, {"value": None, "low": None, "high": None})
        marks.append(_Mark(arm, finite(found["value"]), finite(found["low"]), finite(found["high"])))
    return _dots(kpi, marks)


def arm_bars(arms: Plain, kpi: str, others: Plain) -> Markup:
    """The demo report's arms as dots with 95 % intervals, and other systems beneath as plain dots."""
    marks = []
    for arm in (arm for arm in FOUR if arm in arms):
        low, high = arms[arm].get("intervals", {}).get(kpi) or (None, None)
        marks.append(_Mark(arm, finite(arms[arm].get(kpi)), finite(low), finite(high)))
    marks += [_Mark(name, finite(found.get(kpi))) for name, found in others.items() if found]
    return _dots(kpi, marks)


def measured_kpis(evidence: Plain) -> list[str]:
    """Every KPI that has a value in some arm, the primary one first."""
    found = {kpi for arm in evidence["arms"].values() for kpi in arm}
    order = [*(kpi for kpi in COLUMNS if kpi in found), *sorted(found.difference(COLUMNS))]
    return sorted(order, key=lambda kpi: kpi != evidence.get("primary"))


def drawn_kpis(evidence: Plain) -> list[str]:
    """The KPIs that have an interval in some arm, the primary one first."""
    found = {kpi for arm in evidence["arms"].values() for kpi, measure in arm.items() if measure["low"] is not None}
    return [kpi for kpi in measured_kpis(evidence) if kpi in found]


def _dots(kpi: str, marks: Sequence[_Mark]) -> Markup:
    name = kpi_words(kpi)
    shown = [x for mark in marks for x in (mark.value, mark.low, mark.high) if x is not None]
    if not shown:
        return nothing(name, f"{name} was not measured.")
    scale = Scale(*widened(shown), *PLOT)
    bottom = ROW * len(marks) + 4
    direction = {True: ", higher is better", False: ", lower is better", None: ""}[rises(kpi)]
    parts = bottom_axis(scale, 4, bottom, f"{name}{direction}; 95% intervals", most=4)
    for place, mark in enumerate(marks):
        parts += _dot_row(mark, scale, ROW * place + ROW / 2 + 2)
    said = "; ".join(f"{arm_words(mark.kind)} {number(mark.value)}{_range(mark)}" for mark in marks)
    return svg(f"{name} by arm", f"{said}.", bottom + 40, parts)


def _range(mark: _Mark) -> str:
    if mark.low is None or mark.high is None:
        return ""
    return f" ({number(mark.low)} to {number(mark.high)})"


def _dot_row(mark: _Mark, scale: Scale, y: float) -> list[Markup]:
    strong = mark.kind in ("champion", "candidate")
    colour = ACCENT if mark.kind == "candidate" else INK if strong else MUTED
    parts = [text(0, y + 4, fit(arm_words(mark.kind), 17), bold=strong, fill=colour)]
    if mark.value is None:
        return [*parts, text(WIDTH, y + 4, "not measured", anchor="end", size=SMALL, fill=MUTED)]
    if mark.low is not None and mark.high is not None:
        low, high = scale(mark.low), scale(mark.high)
        parts.append(line(low, y, high, y, stroke=colour, width=2))
        parts += [line(end, y - 5, end, y + 5, stroke=colour, width=2) for end in (low, high)]
        bounds = f"{number(mark.low)}–{number(mark.high)}"
        parts.append(text(WIDTH, y + 13, bounds, anchor="end", size=SMALL, fill=MUTED))
    parts.append(dot(scale(mark.value), y, fill=colour if strong else PAPER, stroke=colour))
    raised = 1.0 if mark.low is not None else -4.0
    return [*parts, text(WIDTH, y - raised, number(mark.value), anchor="end", bold=strong)]


def gate_plot(checks: Sequence[Plain]) -> Markup:
    """Every check with its threshold: right of the line passes, each unit on a scale of its own.

    A check passes where its bound is beyond the threshold, upwards for a gain and downwards for a harm; the
    outcome says which of the two it was.
    """
    if not checks:
        return nothing("The gate's checks", "No check was made.")
    parts, y = (
        [
            text(WIDTH / 2 - 10, 12, "← short of the line", anchor="end", size=SMALL, fill=MUTED),
            text(WIDTH / 2 + 10, 12, "beyond it: passes →", size=SMALL, fill=MUTED),
        ],
        20.0,
    )
    common = max((_reach(check) for check in checks if _is_gain(check)), default=0.0)
    for check in checks:
        drawn, height = _check_row(check, y, common if _is_gain(check) else _reach(check))
        parts += drawn
        y += height
    legend = "dot: measured; tick: bound; each row in its own unit"
    parts.append(text(WIDTH / 2, y + 14, legend, anchor="middle", size=SMALL, fill=MUTED))
    said = " ".join(f"{check['name']}: {OUTCOMES[check['outcome']][1]}. {check['reason']}" for check in checks)
    return svg("The gate's checks against their thresholds", said, y + 24, parts)


def _is_gain(check: Plain) -> bool:
    # Gains of one KPI over several arms share a unit, so they share a scale.
    return check_fields(check)[0] == "gain"


def _numbers(check: Plain) -> tuple[float | None, float | None, float | None]:
    return finite(check.get("value")), finite(check.get("bound")), finite(check.get("threshold"))


def _reach(check: Plain) -> float:
    value, bound, threshold = _numbers(check)
    if bound is None or threshold is None:
        return 0.0
    return max(abs(bound - threshold), 0.0 if value is None else abs(value - threshold))


def _check_row(check: Plain, y: float, reach: float) -> tuple[list[Markup], float]:
    mark, word, colour = OUTCOMES[check["outcome"]]
    value, bound, threshold = _numbers(check)
    parts = [
        line(0, y, WIDTH, y, stroke=RULE, width=0.6),
        text(0, y + 18, fit(check["name"], 34), bold=True),
        text(WIDTH, y + 18, f"{mark} {word}", anchor="end", bold=True, fill=colour),
    ]
    if bound is None or threshold is None:
        return parts, 28.0
    towards = 1 if (bound > threshold) == (check["outcome"] == "pass") else -1
    scale = Scale(-reach, reach, 20, WIDTH - 20)
    at, strip = scale(towards * (bound - threshold)), y + 34
    parts.append(line(20, strip, WIDTH - 20, strip, stroke=RULE, width=0.6))
    parts.append(line(WIDTH / 2, strip - 9, WIDTH / 2, strip + 9, width=1.5, dash="3 2"))
    parts.append(line(at, strip - 5, at, strip + 5, stroke=colour, width=2.5))
    if value is not None:
        centre = scale(towards * (value - threshold))
        parts.append(line(centre, strip, at, strip, stroke=colour, width=2.5))
        parts.append(dot(centre, strip, fill=colour, stroke=colour))
    return [*parts, *_check_numbers(check, y + 57)], 66.0


def _check_numbers(check: Plain, y: float) -> list[Markup]:
    value, bound, threshold = _numbers(check)
    sign = _is_gain(check)
    said = (
        (0.0, "start", "" if value is None else f"measured {number(value, sign=sign)}"),
        (WIDTH / 2, "middle", f"threshold {number(threshold, sign=sign)}"),
        (WIDTH, "end", f"bound {number(bound, sign=sign)}"),
    )
    return [text(x, y, words, anchor=anchor, size=SMALL, fill=MUTED) for x, anchor, words in said]


def forest(evidence: Plain) -> Markup:
    """The candidate's difference from the champion in every KPI and suite that has one, better to the right.

    The dashed line is no change; a tick of its own colour is what the gate requires: the gain to exceed, or the harm
    that a guardrail accepts.
    """
    title = "Candidate against champion"
    found = {kpi: by_arm["champion"] for kpi, by_arm in evidence.get("differences", {}).items() if "champion" in by_arm}
    found |= {
        kpi: suite["difference"]
        for kpi, suite in (evidence.get("suites") or {}).items()
        if suite.get("difference") and rises(kpi) is not None and kpi not in OWN_UNITS
    }
    rows = [_forest_row(evidence, kpi, difference) for kpi, difference in found.items()]
    rows = [row for row in rows if row.value is not None]
    if not rows:
        return nothing(title, "No difference was measured.")
    reach = [x for row in rows for x in (row.value, row.low, row.high, row.wanted, 0.0) if x is not None]
    scale, bottom = Scale(*widened(reach), *PLOT), ROW * len(rows) + 4
    parts = bottom_axis(scale, 4, bottom, "difference, → better; one-sided bounds at the gate's levels", most=4)
    parts.append(line(scale(0), 4, scale(0), bottom, dash="3 2"))
    for place, row in enumerate(rows):
        parts += _forest_line(row, scale, ROW * place + ROW / 2 + 2)
    said = "; ".join(
        f"{kpi_words(row.kpi)} {number(row.value, sign=True)} ({number(row.low, sign=True)} to "
        f"{number(row.high, sign=True)})"
        for row in rows
    )
    return svg(title, f"{said}.", bottom + 40, parts)


@dataclass(frozen=True, slots=True)
class _Gain:
    """A KPI's difference, turned so that more is better, and the line that the gate drew."""

    kpi: str
    value: float | None
    low: float | None
    high: float | None
    wanted: float | None


def _forest_row(evidence: Plain, kpi: str, difference: Plain) -> _Gain:
    value, lower, upper = (finite(difference[name]) for name in ("value", "lower", "upper"))
    if rises(kpi) is False:
        value, lower, upper = (None if x is None else -x for x in (value, upper, lower))
    wanted = None
    for check in evidence.get("gate") or ():
        measured, threshold = finite(check.get("value")), finite(check.get("threshold"))
        kind, measured_kpi, against = check_fields(check)
        if measured_kpi != kpi or threshold is None:
            continue
        if kind == "gain" and against == "champion":
            wanted = threshold
        elif kind == "margin":
            wanted = -threshold
        elif kind == "guardrail" and measured is not None and value is not None and abs(measured + value) < SAME:
            wanted = -threshold  # an old entry: a margin's value is the harm, other limits have no place on this scale
    return _Gain(kpi, value, lower, upper, wanted)


def _forest_line(row: _Gain, scale: Scale, y: float) -> list[Markup]:
    line_at = row.wanted or 0.0
    colour = OPEN
    if row.low is not None and row.low > line_at:
        colour = GOOD
    elif row.high is not None and row.high < line_at:
        colour = BAD
    parts = [text(0, y + 4, fit(kpi_words(row.kpi), 17), bold=row.wanted is not None)]
    if row.low is not None and row.high is not None:
        parts.append(line(scale(row.low), y, scale(row.high), y, stroke=colour, width=3))
        bounds = f"{number(row.low, sign=True)} to {number(row.high, sign=True)}"
        parts.append(text(WIDTH, y + 13, bounds, anchor="end", size=SMALL, fill=MUTED))
    if row.wanted is not None:
        parts.append(line(scale(row.wanted), y - 12, scale(row.wanted), y + 12, stroke=ACCENT, width=2))
    parts.append(dot(scale(row.value or 0.0), y, fill=colour, stroke=colour))
    return [*parts, text(WIDTH, y - 1, number(row.value, sign=True), anchor="end", bold=True)]


def gain_bar(difference: Plain, wanted: float = 0.0) -> Markup:
    """A small bar of the candidate's gain with its bounds and the gate's line; the text around it has the numbers."""
    value, lower, upper = (finite(difference[name]) for name in ("value", "lower", "upper"))
    if value is None or lower is None or upper is None:
        return Markup("")
    reach = max(abs(lower), abs(upper), abs(wanted), 1e-9) * 1.1
    scale = Scale(-reach, reach, 4, 136)
    colour = GOOD if lower > wanted else BAD if upper < wanted else OPEN
    parts = [
        line(scale(wanted), 1, scale(wanted), 23, dash="3 2"),
        line(scale(lower), 12, scale(upper), 12, stroke=colour, width=3),
        dot(scale(value), 12, fill=colour, stroke=colour),
    ]
    said = f"{number(value, sign=True)}, bounds {number(lower, sign=True)} to {number(upper, sign=True)}"
    return svg("Gain over the champion, with what the gate requires", said, 24, parts, 140)


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> Markup:
    """Truth (rows) by answer (columns): counts, and each row's percentages as shade and text."""
    left, cell = 82.0, max((WIDTH - 82.0) / max(len(labels), 1), 58.0)
    width, top = left + cell * len(labels), 40.0
    parts = [
        text((left + width) / 2, 12, "answer (count, % of the row)", anchor="middle", size=SMALL, fill=MUTED),
        text(0, 30, "truth", size=SMALL, fill=MUTED),
    ]
    for column, label in enumerate(labels):
        short = fit(label, int(cell / 6.6))
        parts.append(text(left + cell * (column + 0.5), 30, short, anchor="middle", size=SMALL))
    for row, (counts, label) in enumerate(zip(matrix, labels, strict=True)):
        y, total = top + 44 * row, sum(counts)
        parts.append(text(0, y + 26, fit(label, 11)))
        for column, count in enumerate(counts):
            parts += _cell(left + cell * column, y, cell, count, total, hit=row == column)
    said = "; ".join(
        f"truth {label}: " + ", ".join(f"{answer} {count}" for answer, count in zip(labels, counts, strict=True))
        for label, counts in zip(labels, matrix, strict=True)
    )
    return svg(title, f"{said}.", top + 44 * len(labels) + 4, parts, width)


def _cell(x: float, y: float, cell: float, count: int, total: int, *, hit: bool) -> list[Markup]:
    part = count / total if total else 0.0
    middle = x + cell / 2
    return [
        # A shade of at most 0.38 keeps the text on it above a contrast of 4.5 in both modes.
        box(x + 1, y + 1, cell - 2, 42, fill=ACCENT if hit else BAD, opacity=0.04 + 0.34 * part, round_by=3),
        text(middle, y + 19, count, anchor="middle", bold=hit),
        text(middle, y + 34, f"{part:.0%}" if total else "–", anchor="middle", size=SMALL),
    ]


def durations(seconds: Mapping[str, float]) -> Markup:
    """Horizontal bars of seconds for each phase, in the order given."""
    if not seconds:
        return nothing("Seconds by phase", "No phase was timed.")
    longest = max([*seconds.values(), 1e-9])
    scale = Scale(0, longest, 0, WIDTH)
    parts: list[Markup] = []
    for place, (phase, took) in enumerate(seconds.items()):
        y = 36.0 * place
        parts.append(text(0, y + 14, fit(phase.replace("_", " "), 42)))
        parts.append(text(WIDTH, y + 14, f"{took:.1f} s", anchor="end"))
        parts.append(box(0, y + 19, WIDTH, 8, fill=RULE, opacity=0.3, round_by=4))
        parts.append(box(0, y + 19, scale(took), 8, fill=ACCENT, round_by=4))
    said = "; ".join(f"{phase} {took:.1f} s" for phase, took in seconds.items())
    return svg("Seconds by phase", f"{said}.", 36.0 * len(seconds) + 2, parts)


__all__ = [
    "approval",
    "arm_bars",
    "confidence_sequence",
    "confusion",
    "drawn_kpis",
    "durations",
    "forest",
    "gain_bar",
    "gate_plot",
    "interval_bars",
    "measured_kpis",
]
