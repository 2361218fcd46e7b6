"""Charts: how a model and its runs went over time, as inline SVG.

It owns axes of versions, days and steps; it must not fetch or judge anything.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from markupsafe import Markup

from ops.console.svg.primitives import (
    ACCENT,
    MUTED,
    PAPER,
    SERIES,
    SMALL,
    WIDTH,
    Scale,
    bottom_axis,
    box,
    dot,
    finite,
    fit,
    kpi_words,
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

LEFT, RIGHT, TOP, BOTTOM = 42.0, 328.0, 24.0, 208.0
# Series of a stack, the largest first; what is more goes together as "others".
SHADES = tuple((colour, 0.9) for colour in SERIES)
MOST_POINTS = 400


def kpi_over_versions(judged: Sequence[Plain]) -> Markup:
    """The primary KPI of each judged candidate on its holdout with its 95 % interval; a filled dot took over."""
    title = "Primary KPI over versions"
    shown = [entry for entry in judged if finite(entry["candidate"]["value"]) is not None]
    if not shown:
        return nothing(title, "No candidate has been judged yet.")
    kpi = kpi_words(shown[-1]["kpi"])
    reach = [x for entry in shown for x in _bounds(entry["candidate"]) if x is not None]
    y = Scale(*widened(reach), BOTTOM, TOP)
    x = Scale(-0.5, len(shown) - 0.5, LEFT, RIGHT)
    parts = [*left_axis(y, LEFT, RIGHT), text(0, 12, f"{kpi} on its holdout; 95% intervals", size=SMALL, fill=MUTED)]
    for place, entry in enumerate(shown):
        parts += _judged(x(place), entry, y)
    parts += _named(x, [f"v{entry['version']}" for entry in shown])
    parts.append(text(0, BOTTOM + 40, "filled: took over; hollow: did not", size=SMALL, fill=MUTED))
    said = "; ".join(f"v{entry['version']} {number(entry['candidate']['value'])}" for entry in shown)
    return svg(title, f"{kpi}: {said}.", BOTTOM + 48, parts)


def _judged(at: float, entry: Plain, y: Scale) -> list[Markup]:
    value, low, high = _bounds(entry["candidate"])
    took_over = entry["verdict"] == "promoted"
    colour = ACCENT if took_over else MUTED
    whisker = [] if low is None or high is None else [line(at, y(low), at, y(high), stroke=colour, width=2)]
    return [
        *whisker,
        dot(at, y(value or 0.0), fill=colour if took_over else PAPER, stroke=colour, radius=3.5),
    ]


def _bounds(measure: Plain) -> tuple[float | None, float | None, float | None]:
    return finite(measure["value"]), finite(measure["low"]), finite(measure["high"])


def _named(x: Scale, names: Sequence[str], most: int = 8) -> list[Markup]:
    """Names beneath their places, as many as fit."""
    step = math.ceil(len(names) / most)
    return [
        text(x(place), BOTTOM + 18, names[place], anchor="middle", size=SMALL, fill=MUTED)
        for place in range(0, len(names), step)
    ]


def learning_curve(judged: Sequence[Plain]) -> Markup:
    """The primary KPI against the rows that each candidate learned from: whether more feedback still helps."""
    title = "Learning curve"
    shown = [
        (entry["train_rows"], value, *_bounds(entry["candidate"])[1:])
        for entry in judged
        if entry["train_rows"] and (value := finite(entry["candidate"]["value"])) is not None
    ]
    if not shown:
        return nothing(title, "No candidate has been trained yet.")
    x = Scale(0, 1.04 * max(rows for rows, *_ in shown), LEFT, RIGHT)
    y = Scale(*widened([value for entry in shown for value in entry[1:] if value is not None]), BOTTOM, TOP)
    parts = [*bottom_axis(x, TOP, BOTTOM, "rows in the train split"), *left_axis(y, LEFT, RIGHT)]
    parts.append(text(0, 12, f"{kpi_words(judged[-1]['kpi'])}; 95% intervals", size=SMALL, fill=MUTED))
    for rows, value, low, high in shown:
        if low is not None and high is not None:
            parts.append(line(x(rows), y(low), x(rows), y(high), stroke=ACCENT, width=2))
        parts.append(dot(x(rows), y(value), fill=ACCENT, stroke=ACCENT, radius=3.5))
    said = "; ".join(f"{rows} rows {number(value)}" for rows, value, _, _ in shown)
    return svg(title, f"{said}.", BOTTOM + 40, parts)


def loss_curve(losses: Sequence[Plain]) -> Markup:
    """The training loss over steps, with a line and a shade for each objective."""
    title, objectives = "Training loss", dict[str, list[tuple[int, float]]]()
    for entry in losses:
        if (value := finite(entry["loss"])) is not None:
            objectives.setdefault(entry.get("objective") or "", []).append((entry["step"], value))
    if not objectives:
        return nothing(title, "No loss was reported.")
    last = max(step for places in objectives.values() for step, _ in places)
    thinned = {name: places[:: math.ceil(len(places) / MOST_POINTS)] for name, places in objectives.items()}
    x = Scale(0, last, LEFT, RIGHT)
    y = Scale(*widened([0.0, *(loss for places in thinned.values() for _, loss in places)]), BOTTOM, TOP)
    parts = [*bottom_axis(x, TOP, BOTTOM, "step"), *left_axis(y, LEFT, RIGHT)]
    words = "loss of each objective" if len(objectives) > 1 else "cross-entropy, nats per token"
    parts.append(text(0, 12, words, size=SMALL, fill=MUTED))
    for (name, places), (shade, _) in zip(thinned.items(), SHADES, strict=False):
        parts.append(path([(x(step), y(loss)) for step, loss in places], stroke=shade))
        if name:
            parts.append(text(x(places[0][0]) + 4, TOP + 8, name, size=SMALL, fill=shade))
    said = "; ".join(
        f"{name + ' from' if name else 'From'} {number(places[0][1])} to {number(places[-1][1])}"
        for name, places in objectives.items()
    )
    return svg(title, f"{said} in {last} steps.", BOTTOM + 40, parts)


def stacked_days(rows: Sequence[Plain], by: str, count: str, unit: str, title: str) -> Markup:
    """Counts a day as stacked bars, one series for each value of `by`."""
    if not rows:
        return nothing(title, "Nothing came in.")
    totals: dict[str, int] = {}
    for row in rows:
        totals[_series(row, by)] = totals.get(_series(row, by), 0) + row[count]
    names = sorted(totals, key=lambda name: -totals[name])
    kept = names if len(names) <= len(SHADES) else names[: len(SHADES) - 1]
    days: dict[date, dict[str, int]] = {}
    for row in rows:
        name = _series(row, by)
        stack = days.setdefault(row["day"], {})
        place = name if name in kept else "others"
        stack[place] = stack.get(place, 0) + row[count]
    shown = kept if len(kept) == len(names) else [*kept, "others"]
    return _bars(days, shown, unit, title, totals)


def _series(row: Plain, by: str) -> str:
    return f"v{row[by]}" if by == "version" else str(row[by])


def _bars(
    days: Mapping[date, Mapping[str, int]], names: Sequence[str], unit: str, title: str, totals: Mapping[str, int]
) -> Markup:
    first, last = min(days), max(days)
    span = (last - first).days + 1
    y = Scale(0, 1.05 * max(sum(stack.values()) for stack in days.values()), BOTTOM, TOP)
    x, width = Scale(0, span, LEFT, RIGHT), (RIGHT - LEFT) / span
    parts = [*left_axis(y, LEFT, RIGHT), text(0, 12, f"{unit} a day (UTC)", size=SMALL, fill=MUTED)]
    for day, stack in days.items():
        base = 0
        for name, (fill, opacity) in zip(names, SHADES, strict=False):
            n = stack.get(name, 0)
            if n:
                top = y(base + n)
                parts.append(
                    box(
                        x((day - first).days) + 0.5, top, max(1.0, width - 1), y(base) - top, fill=fill, opacity=opacity
                    )
                )
            base += n
    every = math.ceil(span / 4)
    for place in range(0, span, every):
        day = first + timedelta(days=place)
        parts.append(text(x(place), BOTTOM + 18, day.isoformat()[5:], size=SMALL, fill=MUTED))
    for place, (name, (fill, opacity)) in enumerate(zip(names, SHADES, strict=False)):
        left, top = (WIDTH / 3) * (place % 3), BOTTOM + 38 + 18 * (place // 3)
        parts += [
            box(left, top - 9, 10, 10, fill=fill, opacity=opacity),
            text(left + 15, top, fit(name, 12), size=SMALL),
        ]
    said = "; ".join(f"{name} {n:,}" for name, n in sorted(totals.items(), key=lambda pair: -pair[1]))
    return svg(title, f"{said}.", BOTTOM + 44 + 18 * math.ceil(len(names) / 3), parts)
