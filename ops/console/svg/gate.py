"""Draw what a gate judged as inline SVG: its checks, and the candidate's differences from the champion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from eval.ledger_evidence import check_fields
from ops.console.svg.checks import check_name, check_numbers
from ops.console.svg.primitives import (
    ACCENT,
    BAD,
    GOOD,
    MUTED,
    OPEN,
    PLOT,
    ROW,
    RULE,
    SMALL,
    WIDTH,
    Scale,
    bottom_axis,
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

# Suites whose KPI is no share of items, so that it has no place on the scale of those that are.
OWN_UNITS = ("mean_length", "kl_to_base", "forgetting")
# Two measurements this near are one, read twice.
SAME = 1e-9
# Outcome of a check: mark, word, colour. The mark and the word carry it where colours are not seen.
OUTCOMES = {
    "pass": ("✓", "passes", GOOD),
    "fail": ("✗", "fails", BAD),
    "inconclusive": ("?", "not shown", OPEN),
    "wait": ("…", "waits", OPEN),
}


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
        text(0, y + 18, fit(check_name(check), 34), bold=True),
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
    places = ((0.0, "start"), (WIDTH / 2, "middle"), (WIDTH, "end"))
    return [
        text(x, y, words, anchor=anchor, size=SMALL, fill=MUTED)
        for (x, anchor), words in zip(places, check_numbers(check), strict=True)
    ]


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
