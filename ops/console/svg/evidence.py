"""Draw an evaluation as inline SVG: KPIs of the arms, confusions and durations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ops.console.svg.primitives import (
    ACCENT,
    INK,
    MUTED,
    PAPER,
    PLOT,
    ROW,
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
    "valid_json",
    "schema_match",
    "tool_name",
    "tool_name_f1",
    "tool_arguments",
    "tool_fields",
    "roc_auc",
    "brier",
    "ece",
    "invalid_mass",
    "p50_latency_ms",
    "p95_latency_ms",
    "prompt_tokens",
    "answer_tokens",
)
# The number of shades of a confusion, beyond the lightest.
SHADES = 6
FOUR = ("base", "rag", "champion", "candidate")


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


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a confusion: a count, its share of the row, and the class of its shade. Empty for a count of 0."""

    count: str = ""
    share: str = ""
    shade: str = ""


def confusion_rows(matrix: Sequence[Sequence[int]]) -> list[list[Cell]]:
    """Truth (rows) by answer (columns), each cell with its share of the row."""
    return [
        [_cell(count, sum(counts), hit=row == column) for column, count in enumerate(counts)]
        for row, counts in enumerate(matrix)
    ]


def _cell(count: int, total: int, *, hit: bool) -> Cell:
    if not count:
        return Cell()  # most cells of many labels
    part = count / total
    return Cell(str(count), f"{part:.0%}", f"{'hit' if hit else 'miss'}-{round(SHADES * part)}")


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
