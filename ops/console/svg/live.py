"""Series: live measurements as they came in, over users or over time, as inline SVG.

It owns how a canary's confidence sequence and an approval rate are drawn; the statistics of a look are the gate's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from eval.kpis.intervals import wilson
from ops.console.svg.primitives import (
    ACCENT,
    INK,
    MUTED,
    OPEN,
    SMALL,
    WIDTH,
    Scale,
    area,
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
    ticks,
    widened,
)

Plain = Mapping[str, Any]

LEFT, RIGHT, TOP, BOTTOM = 42.0, 328.0, 24.0, 208.0
MOST_POINTS = 200
MOST_DOTS = 30
# The verdict of a look, in the canary's own words.
LOOKS = {"pass": "promotes", "fail": "rolls back", "inconclusive": "ends inconclusive", "wait": "goes on"}
STROKES = ((MUTED, "6 4"), (ACCENT, "none"), (OPEN, "2 3"), (INK, "8 3 2 3"))


def confidence_sequence(looks: Sequence[Plain]) -> Markup:
    """The difference in live score over users with its band, and the line that its lower edge must pass.

    Difference, half-width and line are in scores from −1 to +1 a request; x is users in both arms.
    """
    title = "The canary's confidence sequence"
    if not looks:
        return nothing(title, "The canary has not been tested yet.")
    shown = _thinned(looks)
    bodies = [look["body"] for look in shown]
    users = [body["control"]["users"] + body["canary"]["users"] for body in bodies]
    x, y = Scale(0, 1.04 * max([1, *users]), LEFT, RIGHT), _band_scale(bodies)
    across = [x(n) for n in users]
    parts = [*bottom_axis(x, TOP, BOTTOM, "users in both arms"), *left_axis(y, LEFT, RIGHT)]
    parts.append(text(0, 12, "canary − champion, score per request (−1 to +1)", size=SMALL, fill=MUTED))
    parts += _band(list(zip(across, bodies, strict=True)), y)
    parts.append(line(LEFT, y(0), RIGHT, y(0), stroke=INK, width=1))
    beat = [y(body["line"]) for body in bodies]
    parts.append(path(zip([LEFT, *across, RIGHT], [beat[0], *beat, beat[-1]], strict=True), stroke=OPEN, dash="5 3"))
    named = beat[0] + 14 if beat[0] + 18 < BOTTOM else beat[0] - 6
    parts.append(text(LEFT + 4, named, "the bound must be above", size=SMALL, fill=OPEN))
    parts += _differences([(at, y(body["difference"])) for at, body in zip(across, bodies, strict=True)])
    parts.append(text(0, BOTTOM + 54, _last_look(looks[-1]), bold=True))
    parts.append(text(0, BOTTOM + 71, "solid: difference; shade: 95% for all looks together", size=SMALL, fill=MUTED))
    return svg(title, f"Look {looks[-1]['look']}. {_last_look(looks[-1])}", BOTTOM + 78, parts)


def _thinned(looks: Sequence[Plain]) -> list[Plain]:
    # A canary of a day has thousands of looks; more points than pixels only make the page heavy.
    step = max(1, math.ceil(len(looks) / MOST_POINTS))
    kept = list(looks[::step])
    return kept if kept[-1] is looks[-1] else [*kept, looks[-1]]


def _band_scale(bodies: Sequence[Plain]) -> Scale:
    # The first looks are wide open; drawn whole they would flatten the later ones, so they are cut at the edge.
    widths = [width for body in bodies if (width := finite(body["half_width"])) is not None]
    widest = min(max(widths, default=0.0), 4 * widths[-1] if widths else 0.0)
    reach = [0.0, *(body["line"] for body in bodies)]
    for body in bodies:
        width = min(finite(body["half_width"]) or 0.0, widest)
        reach += [body["difference"] - width, body["difference"] + width]
    return Scale(*widened(reach), BOTTOM, TOP)


def _band(places: Sequence[tuple[float, Plain]], y: Scale) -> list[Markup]:
    known = [(at, body) for at, body in places if finite(body["half_width"]) is not None]
    if not known:
        return []
    upper = [(at, y(body["difference"] + body["half_width"])) for at, body in known]
    lower = [(at, y(body["difference"] - body["half_width"])) for at, body in known]
    if len(known) == 1:
        return [line(*upper[0], *lower[0], stroke=ACCENT, width=2)]
    edges = [path(edge, stroke=ACCENT, width=1) for edge in (upper, lower)]
    return [area([*upper, *reversed(lower)], fill=ACCENT), *edges]


def _differences(places: Sequence[tuple[float, float]]) -> list[Markup]:
    dots = places if len(places) <= MOST_DOTS else places[-1:]
    return [path(places, stroke=ACCENT), *(dot(*place, fill=ACCENT, stroke=ACCENT, radius=3) for place in dots)]


def _last_look(look: Plain) -> str:
    body = look["body"]
    width = finite(body["half_width"])
    band = "no band yet" if width is None else f"± {number(width)}"
    return f"Last look: {number(body['difference'], sign=True)} {band}; {LOOKS.get(look['verdict'], look['verdict'])}."


def approval(points: Sequence[Plain], switch_s: float | None) -> Markup:
    """Approval over time with 95 % Wilson bands, a series for each version, and the moment of the switch."""
    title = "Approval over time by version"
    rated = [point for point in points if point["rated"]]
    if not rated:
        return nothing(title, "Nothing was rated.")
    last = max([point["second"] for point in rated] + ([] if switch_s is None else [switch_s]))
    x, y = Scale(0, max(last, 1), LEFT, RIGHT), Scale(0, 1, BOTTOM, TOP)
    parts = [*bottom_axis(x, TOP, BOTTOM, "seconds since the start")]
    parts += left_axis(y, LEFT, RIGHT, [f"{mark:.0%}" for mark in ticks(0, 1, 5)])
    parts.append(text(0, 12, "approved, of rated answers", size=SMALL, fill=MUTED))
    if switch_s is not None:
        parts.append(line(x(switch_s), TOP - 6, x(switch_s), BOTTOM, stroke=INK, width=1.5, dash="4 3"))
        side = "end" if x(switch_s) > (LEFT + RIGHT) / 2 else "start"
        beside = x(switch_s) + (-5 if side == "end" else 5)
        parts.append(text(beside, BOTTOM - 6, f"switch at {switch_s:.0f} s", anchor=side))
    versions = sorted({point["version"] for point in rated})
    for place, version in enumerate(versions):
        parts += _rates([p for p in rated if p["version"] == version], STROKES[place % len(STROKES)], x, y)
        parts += _key(place, f"v{version}")
    said = "; ".join(_overall(version, rated) for version in versions)
    height = BOTTOM + 46 + 20 * math.ceil(len(versions) / 3)
    return svg(title, f"{said}.", height, parts)


def _rates(points: Sequence[Plain], stroke: tuple[str, str], x: Scale, y: Scale) -> list[Markup]:
    points = sorted(points, key=lambda point: point["second"])
    colour, dash = stroke
    bounds = [wilson(point["approved"], point["rated"]) for point in points]
    places = [(x(point["second"]), y(point["approved"] / point["rated"])) for point in points]
    upper = [(at, y(high)) for (at, _), (_, high) in zip(places, bounds, strict=True)]
    lower = [(at, y(low)) for (at, _), (low, _) in zip(places, bounds, strict=True)]
    if len(points) == 1:
        only = dot(*places[0], fill=colour, stroke=colour, radius=3)
        return [line(*upper[0], *lower[0], stroke=colour, width=2), only]
    dots = [dot(*place, fill=colour, stroke=colour, radius=2.5) for place in places] if len(places) <= MOST_DOTS else []
    return [area([*upper, *reversed(lower)], fill=colour), path(places, stroke=colour, dash=dash), *dots]


def _key(place: int, name: str) -> list[Markup]:
    colour, dash = STROKES[place % len(STROKES)]
    x, y = (WIDTH / 3) * (place % 3), BOTTOM + 54 + 20 * (place // 3)
    return [line(x, y - 4, x + 28, y - 4, stroke=colour, width=2.5, dash=dash), text(x + 34, y, name, bold=True)]


def _overall(version: int, rated: Sequence[Plain]) -> str:
    own = [point for point in rated if point["version"] == version]
    votes = sum(point["rated"] for point in own)
    return f"v{version}: {sum(point['approved'] for point in own) / votes:.0%} of {votes} rated answers"
