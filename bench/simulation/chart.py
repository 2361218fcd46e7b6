"""Picture: what each gate promotes where a promotion is wrong, and where it is right.

It owns the layout of one drawing; shapes and words are the console's.
"""

from typing import Any

from ops.console.assets import stylesheet
from ops.console.svg import primitives

ROW, TOP, LEFT, WIDTH = 22.0, 46.0, 330.0, 720.0


def draw(rows: list[dict[str, Any]], ours: str) -> str:
    """SVG: a line a scenario, wrong promotions first; ours a full dot, naive gates rings."""
    names = sorted({row["name"]: None for row in rows}, key=lambda name: not _of(rows, name)[0]["null"])
    scale = primitives.Scale(0, 1, LEFT, WIDTH - 24)
    bottom = TOP + ROW * len(names)
    parts = primitives.bottom_axis(scale, TOP - 8, bottom, "share of runs that end in a promotion")
    parts.append(primitives.line(scale(0.05), TOP - 8, scale(0.05), bottom, stroke=primitives.BAD, dash="3 3"))
    for x, words, colour in (
        (24, "this gate, where promoting is wrong", primitives.BAD),
        (290, "where it is right", primitives.GOOD),
        (440, "naive gates", "none"),
    ):
        stroke = primitives.MUTED if colour == "none" else colour
        parts += [primitives.dot(x, 16, fill=colour, stroke=stroke), primitives.text(x + 12, 20, words)]
    for place, name in enumerate(names):
        y, found = TOP + ROW * place + 8, _of(rows, name)
        parts.append(primitives.text(LEFT - 12, y + 4, primitives.fit(name, 54), anchor="end", size=primitives.SMALL))
        for row in sorted(found, key=lambda row: row["gate"] == ours):
            colour = primitives.MUTED if row["gate"] != ours else primitives.BAD if row["null"] else primitives.GOOD
            fill = colour if row["gate"] == ours else "none"
            parts.append(primitives.dot(scale(row["promote"]), y, fill=fill, stroke=colour))
    described = "; ".join(f"{row['name']}: {row['promote']}" for row in rows if row["gate"] == ours)
    drawn = primitives.svg("What the gates promote", described, bottom + 44, parts, WIDTH)
    return str(primitives.with_style(drawn, stylesheet()))


def _of(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["name"] == name]
