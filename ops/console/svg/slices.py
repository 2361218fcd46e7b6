"""Draw slices of the held-out items as inline SVG: the candidate's difference from the champion on each."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from eval.ledger_evidence import check_fields
from ops.console.svg.primitives import (
    ACCENT,
    BAD,
    GOOD,
    MUTED,
    OPEN,
    PLOT,
    ROW,
    SMALL,
    WIDTH,
    Scale,
    bottom_axis,
    dot,
    finite,
    fit,
    line,
    nothing,
    number,
    svg,
    text,
    widened,
)

Plain = Mapping[str, Any]

TITLE = "Slices of the held-out items"
MOST_DRAWN = 12


def slice_plot(slices: Sequence[Plain], margin: float | None) -> Markup:
    """The slices with the lowest differences, better to the right, with their bounds.

    The tick of its own colour is the accepted loss. A slice fails if its whole interval is left of it.
    """
    shown = slices[:MOST_DRAWN]
    differences = [one["difference"] for one in shown]
    values = [finite(found[name]) for found in differences for name in ("value", "lower", "upper")]
    if not any(value is not None for value in values):
        return nothing(TITLE, "No slice was measured.")
    limit = None if margin is None else -margin
    reach = [value for value in (*values, limit, 0.0) if value is not None]
    scale, bottom = Scale(*widened(reach), *PLOT), ROW * len(shown) + 4
    parts = bottom_axis(scale, 4, bottom, "difference, → better; upper bounds hold for all slices", most=4)
    parts.append(line(scale(0), 4, scale(0), bottom, dash="3 2"))
    if limit is not None:
        parts.append(line(scale(limit), 4, scale(limit), bottom, stroke=ACCENT, width=1.5))
    for place, one in enumerate(shown):
        parts += _row(one, limit, scale, ROW * place + ROW / 2 + 2)
    said = "; ".join(f"{slice_words(one)} {_said(one['difference'])}, {one['n']} items" for one in shown)
    return svg(TITLE, f"{said}.", bottom + 40, parts)


def slice_words(one: Plain) -> str:
    """The slice in words: `app shop`."""
    return f"{one['dimension']} {one['value']}"


def slice_margin(evidence: Plain) -> float | None:
    """The loss that the check of slices accepted. None if there is no check of slices."""
    for check in evidence.get("gate") or ():
        if check_fields(check)[0] == "slices":
            return finite(check.get("threshold"))
    return None


def has_fallen(one: Plain, margin: float | None) -> bool:
    """Whether the slice is worse by more than the margin beyond chance."""
    upper = finite(one["difference"]["upper"])
    return margin is not None and upper is not None and upper < -margin


def _said(difference: Plain) -> str:
    value, lower, upper = (finite(difference[name]) for name in ("value", "lower", "upper"))
    return f"{number(value, sign=True)} ({number(lower, sign=True)} to {number(upper, sign=True)})"


def _row(one: Plain, limit: float | None, scale: Scale, y: float) -> list[Markup]:
    value, lower, upper = (finite(one["difference"][name]) for name in ("value", "lower", "upper"))
    fallen = has_fallen(one, None if limit is None else -limit)
    colour = BAD if fallen else GOOD if lower is not None and lower > 0 else OPEN
    parts = [
        text(0, y - 1, fit(str(one["value"]), 14), bold=fallen),
        text(0, y + 13, f"{one['dimension']}, {one['n']}", size=SMALL, fill=MUTED),
    ]
    if lower is not None and upper is not None:
        parts.append(line(scale(lower), y, scale(upper), y, stroke=colour, width=3))
        bounds = f"{number(lower, sign=True)} to {number(upper, sign=True)}"
        parts.append(text(WIDTH, y + 13, bounds, anchor="end", size=SMALL, fill=MUTED))
    if value is not None:
        parts.append(dot(scale(value), y, fill=colour, stroke=colour))
    return [*parts, text(WIDTH, y - 1, number(value, sign=True), anchor="end", bold=True)]
