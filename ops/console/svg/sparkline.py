"""A small picture of the primary KPI over versions, for a row of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ops.console.svg.primitives import ACCENT, MUTED, PAPER, Scale, dot, finite, kpi_words, number, path, svg, widened

WIDTH, HEIGHT, EDGE = 100.0, 28.0, 5.0


def sparkline(judged: Sequence[Mapping[str, Any]]) -> Markup:
    """One dot per judged candidate, oldest first; a filled dot took over. Empty without a value to draw."""
    shown = [(entry, value) for entry in judged if (value := finite(entry["candidate"]["value"])) is not None]
    if not shown:
        return Markup("")
    x = Scale(0, max(1, len(shown) - 1), EDGE, WIDTH - EDGE)
    y = Scale(*widened([value for _, value in shown]), HEIGHT - EDGE, EDGE)
    places = [(x(place), y(value)) for place, (_, value) in enumerate(shown)]
    parts = [path(places, stroke=MUTED, width=1.2)]
    for (entry, _), at in zip(shown, places, strict=True):
        fill = ACCENT if entry["verdict"] == "promoted" else PAPER
        parts.append(dot(*at, fill=fill, stroke=ACCENT if entry["verdict"] == "promoted" else MUTED, radius=2.6))
    kpi = kpi_words(shown[-1][0]["kpi"])
    said = "; ".join(f"v{entry['version']} {number(value)}" for entry, value in shown)
    return svg(f"{kpi} over versions", f"{said}. A filled dot took over.", HEIGHT, parts, WIDTH)
