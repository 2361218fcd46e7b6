"""Draw the trials of a search as inline SVG: parallel coordinates from their values to their dev scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ops.console.svg.primitives import (
    ACCENT,
    BAD,
    MUTED,
    RULE,
    SMALL,
    WIDTH,
    Scale,
    bottom_axis,
    dot,
    finite,
    left_axis,
    line,
    nothing,
    number,
    path,
    svg,
    text,
    widened,
)

Plain = Mapping[str, Any]

TOP, BOTTOM, SIDE = 40.0, 208.0, 30.0
SCORE = "dev score"
TITLE = "Trials of the search"
CURVE_TITLE = "Learning curve"
LEFT, RIGHT = 42.0, 328.0


def parallel_trials(trials: Sequence[Plain]) -> Markup:
    """One line per trial through its values to its dev score. The best trial has a colour, pruned ones are dashed.

    The score of a trial that is not complete is its last one. A trial without a score ends before that axis.
    """
    shown = [(trial, _logarithms(trial["values"]), last_score(trial)) for trial in trials]
    if not any(score is not None for *_, score in shown):
        return nothing(TITLE, "No trial has a score yet.")
    names = list(trials[0]["values"])
    places = [SIDE + (WIDTH - 2 * SIDE) * n / len(names) for n in range(len(names) + 1)]
    scales = [Scale(*_bounds([values[name] for _, values, _ in shown]), BOTTOM, TOP) for name in names]
    score_scale = Scale(*widened([score for *_, score in shown if score is not None]), BOTTOM, TOP)
    parts: list[Markup] = []
    for place, name, scale in zip(places, names, scales, strict=False):
        parts += _axis(place, name.replace("_", " "), _short(10**scale.low), _short(10**scale.high))
    parts += _axis(places[-1], SCORE, number(score_scale.low), number(score_scale.high))
    best = best_trial(trials)
    for trial, values, score in sorted(shown, key=lambda one: one[0] is best):
        points = [(place, scale(values[name])) for place, name, scale in zip(places, names, scales, strict=False)]
        points += [(places[-1], score_scale(score))] if score is not None else []
        parts += _trial_line(trial, points, best is trial)
    parts.append(text(0, BOTTOM + 40, "dashed: ended early or failed", size=SMALL, fill=MUTED))
    said = "; ".join(f"trial {trial['number']} {trial['state']} {number(score)}" for trial, _, score in shown)
    return svg(TITLE, f"{said}.", BOTTOM + 48, parts)


def best_trial(trials: Sequence[Plain]) -> Plain | None:
    """The complete trial with the highest score, of equal ones the first."""
    complete = [trial for trial in trials if finite(trial["score"]) is not None]
    return max(complete, key=lambda trial: (trial["score"], -trial["number"]), default=None)


def last_score(trial: Plain) -> float | None:
    """The score of a trial, or its last one where it is not complete."""
    if trial["score"] is not None:
        return finite(trial["score"])
    return finite(trial["scores"][-1][1]) if trial["scores"] else None


def _trial_line(trial: Plain, points: Sequence[tuple[float, float]], best: bool) -> list[Markup]:
    colour = ACCENT if best else BAD if trial["state"] == "failed" else MUTED
    dash = "none" if trial["state"] in ("complete", "running") else "4 3"
    drawn = [path(points, stroke=colour, width=2.5 if best else 1.2, dash=dash)]
    return [*drawn, dot(*points[-1], fill=colour, stroke=colour, radius=3.5)]


def _axis(x: float, name: str, low: str, high: str) -> list[Markup]:
    return [
        line(x, TOP, x, BOTTOM, stroke=RULE),
        text(x, 12, name, anchor="middle", size=SMALL),
        text(x, TOP - 8, high, anchor="middle", size=SMALL, fill=MUTED),
        text(x, BOTTOM + 16, low, anchor="middle", size=SMALL, fill=MUTED),
    ]


def _logarithms(values: Mapping[str, float]) -> dict[str, float]:
    return {name: math.log10(value) for name, value in values.items()}


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis. One value has its axis around it."""
    low, high = min(values), max(values)
    return (low - 0.1, high + 0.1) if low == high else (low, high)


def _short(value: float) -> str:
    """A number of two significant digits, such as 0.0005 or 16."""
    return f"{value:.2g}" if value < 1 else f"{value:.3g}"


def share_curve(points: Sequence[Plain]) -> Markup:
    """The dev score against the train rows of each training of a learning curve, with 95% intervals."""
    shown = [
        (point["rows"], score, finite(point["low"]), finite(point["high"]))
        for point in points
        if (score := finite(point["score"])) is not None
    ]
    if not shown:
        return nothing(CURVE_TITLE, "No training of the curve has a score yet.")
    x = Scale(0, 1.04 * max(rows for rows, *_ in shown), LEFT, RIGHT)
    y = Scale(*widened([value for entry in shown for value in entry[1:] if value is not None]), BOTTOM, TOP)
    parts = [*bottom_axis(x, TOP, BOTTOM, "train rows"), *left_axis(y, LEFT, RIGHT)]
    parts.append(text(0, 12, "dev score; 95% intervals over voters", size=SMALL, fill=MUTED))
    parts.append(path([(x(rows), y(score)) for rows, score, *_ in shown], stroke=ACCENT))
    for rows, score, low, high in shown:
        if low is not None and high is not None:
            parts.append(line(x(rows), y(low), x(rows), y(high), stroke=ACCENT, width=2))
        parts.append(dot(x(rows), y(score), fill=ACCENT, stroke=ACCENT, radius=3.5))
    said = "; ".join(f"{rows} rows {number(score)}" for rows, score, *_ in shown)
    return svg(CURVE_TITLE, f"{said}.", BOTTOM + 40, parts)
