"""Drawing: the few shapes, scales and words that every picture of the console is made of, as SVG text.

It owns escaping, colours and type sizes; it must not know what a picture shows.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from eval.kpis.direction import HIGHER_IS_BETTER

# Pictures are drawn for a phone's width, where one unit is about one pixel, so that their type stays legible
# there; on a wider screen they grow by at most GROWTH.
WIDTH = 340.0
GROWTH = 1.3
SMALL = 11.5
NORMAL = 13.0
# A plot with one row per arm or KPI: the height of a row, and where its scale begins and ends.
ROW = 40.0
PLOT = (112.0, 256.0)

# Colours by name. The console's stylesheet has a class for each as a fill (`f-`) and as a stroke (`s-`): a page has
# hundreds of shapes, and attributes were most of its size.
INK = "ink"
MUTED = "muted"
RULE = "rule"
ACCENT = "accent"
GOOD = "good"
BAD = "bad"
OPEN = "open"
PAPER = "card"
# Colours of series, apart from those that say good, bad and open.
SERIES = ("series-1", "series-2", "series-3", "series-4", "series-5", INK)
# Classes of text: small, bold, and where its place is. The stylesheet has the sizes SMALL and NORMAL.
ANCHORS = {"start": "", "middle": "tm", "end": "te"}

ARMS = {
    "base": "base model",
    "rag": "base with RAG",
    "champion": "champion",
    "candidate": "candidate",
    "vader": "VADER",
    "human_raters": "one human rater",
    "tfidf_logreg": "TF-IDF, log. reg.",
}
KPIS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "label_f1": "F1 of its labels",
    "roc_auc": "ROC AUC",
    "token_f1": "token F1",
    "chrf": "chrF",
    "exact_match": "exact match",
    "valid_json": "valid JSON",
    "schema_match": "JSON by the schema",
    "tool_name": "right tool",
    "tool_name_f1": "F1 by tool",
    "tool_arguments": "right arguments",
    "tool_fields": "right argument fields",
    "brier": "Brier score",
    "ece": "calibration error",
    "invalid_mass": "off-label mass",
    "prompt_tokens": "prompt tokens",
    "p50_latency_ms": "latency p50, ms",
    "p95_latency_ms": "latency p95, ms",
    "p50_first_token_ms": "first token p50, ms",
    "cost_per_1000": "cost of 1,000 answers, at most",
    "latency_p50_ms": "latency p50, ms",
    "latency_p95_ms": "latency p95, ms",
}
# Measures that no gate judges alone. For these too, less is better.
COSTS = (
    "prompt_tokens",
    "answer_tokens",
    "p50_first_token_ms",
    "p50_latency_ms",
    "latency_p50_ms",
    "latency_p95_ms",
    "cost_per_1000",
)

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps low..high to left..right (or bottom..top), and keeps what lies outside at the edge."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        """The place of a value."""
        span = self.high - self.low
        part = 0.5 if span <= 0 else min(1.0, max(0.0, (value - self.low) / span))
        return self.left + part * (self.right - self.left)


def kpi_words(kpi: str) -> str:
    """A KPI's name as people write it."""
    return KPIS.get(kpi, kpi.replace("_", " "))


def rises(kpi: str) -> bool | None:
    """Whether more of a KPI is better; None where nobody said so, as of one that a package brings."""
    return False if kpi in COSTS else HIGHER_IS_BETTER.get(kpi)


def arm_words(arm: str) -> str:
    """An arm's name as people write it."""
    return ARMS.get(arm, arm.replace("_", " "))


def finite(value: float | None) -> float | None:
    """The number, or None where there is none to draw."""
    return None if value is None or not math.isfinite(value) else float(value)


def number(value: float | None, *, sign: bool = False) -> str:
    """A number with as many digits as its size deserves."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return f"{value:{'+' if sign else ''}.{digits}f}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within low..high, at most `most` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_words(values: Sequence[float]) -> list[str]:
    """The labels of ticks, with the digits that tell them apart."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    return [f"{value:.{digits}f}".replace("-", "−") for value in values]


def widened(values: Iterable[float], part: float = 0.08) -> tuple[float, float]:
    """The range of values with some air around it; never of no width."""
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    air = (high - low) * part or max(abs(high) * part, 0.01)
    return low - air, high + air


def fit(content: str, most: int) -> str:
    """The text, cut to a maximum number of characters."""
    return content if len(content) <= most else content[: most - 1].rstrip() + "…"


def clean(content: object) -> str:
    """The text without the characters that XML cannot hold, which no escape makes legal."""
    return _NOT_XML.sub("", str(content))


def text(
    x: float,
    y: float,
    content: object,
    *,
    anchor: str = "start",
    size: float = NORMAL,
    fill: str = INK,
    bold: bool = False,
) -> Markup:
    """A line of text at its baseline, of the size SMALL or NORMAL."""
    classes = ("ts" if size == SMALL else "", "tb" if bold else "", ANCHORS[anchor], _fill(fill))
    return Markup(f'<text x="{_place(x)}" y="{_place(y)}"{_classes(*classes)}>{escape(clean(content))}</text>')


def line(
    x1: float, y1: float, x2: float, y2: float, *, stroke: str = INK, width: float = 1.0, dash: str = "none"
) -> Markup:
    """A straight line."""
    ends = f'x1="{_place(x1)}" y1="{_place(y1)}" x2="{_place(x2)}" y2="{_place(y2)}"'
    return Markup(f"<line {ends}{_classes(_stroke(stroke))}{_drawn(width, 1.0, dash)}/>")


def dot(x: float, y: float, *, fill: str = INK, stroke: str = INK, radius: float = 4.5) -> Markup:
    """A round mark."""
    classes = _classes(_fill(fill), _stroke(stroke))
    return Markup(f'<circle cx="{_place(x)}" cy="{_place(y)}" r="{radius:g}"{classes}/>')


def box(
    x: float, y: float, width: float, height: float, *, fill: str, opacity: float = 1.0, round_by: float = 0.0
) -> Markup:
    """A rectangle."""
    size = f'x="{_place(x)}" y="{_place(y)}" width="{_place(width)}" height="{_place(height)}"'
    corner = f' rx="{round_by:g}"' if round_by else ""
    return Markup(f"<rect {size}{corner}{_classes(_fill(fill))}{_opacity(opacity)}/>")


def path(points: Iterable[tuple[float, float]], *, stroke: str, width: float = 2.0, dash: str = "none") -> Markup:
    """A line through points."""
    return Markup(f'<polyline points="{_points(points)}"{_classes(_stroke(stroke))}{_drawn(width, 2.0, dash)}/>')


def area(points: Iterable[tuple[float, float]], *, fill: str, opacity: float = 0.18) -> Markup:
    """A filled shape through points."""
    return Markup(f'<polygon points="{_points(points)}"{_classes(_fill(fill))}{_opacity(opacity)}/>')


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_place(x)},{_place(y)}" for x, y in points)


def _place(value: float) -> str:
    """A place in tenths of a unit, which is finer than a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def _fill(colour: str) -> str:
    return "" if colour == INK else f"f-{colour}"


def _stroke(colour: str) -> str:
    return "" if colour == INK else f"s-{colour}"


def _classes(*names: str) -> str:
    found = " ".join(name for name in names if name)
    return f' class="{found}"' if found else ""


def _drawn(width: float, usual: float, dash: str) -> str:
    """Attributes of a line that is not as the stylesheet draws it."""
    wide = "" if width == usual else f' stroke-width="{width:g}"'
    return wide if dash == "none" else f'{wide} stroke-dasharray="{dash}"'


def _opacity(opacity: float) -> str:
    return "" if opacity == 1 else f' fill-opacity="{opacity:.3g}"'


def bottom_axis(scale: Scale, top: float, y: float, title: str, *, most: int = 5) -> list[Markup]:
    """Grid lines from `top` down to `y`, their numbers beneath, and what they measure."""
    marks = ticks(scale.low, scale.high, most)
    found = [line(scale(mark), top, scale(mark), y, stroke=RULE, width=0.6) for mark in marks]
    found += [
        text(scale(mark), y + 15, words, anchor="middle", size=SMALL, fill=MUTED)
        for mark, words in zip(marks, tick_words(marks), strict=True)
    ]
    return [*found, text((scale.left + scale.right) / 2, y + 32, title, anchor="middle", size=SMALL, fill=MUTED)]


def left_axis(scale: Scale, left: float, right: float, words: Sequence[str] | None = None) -> list[Markup]:
    """Grid lines across at round numbers, which stand to their left; `words` replaces the numbers."""
    marks = ticks(scale.low, scale.high, 5)
    found = []
    for mark, label in zip(marks, words or tick_words(marks), strict=True):
        found.append(line(left, scale(mark), right, scale(mark), stroke=RULE, width=0.6))
        found.append(text(left - 6, scale(mark) + 4, label, anchor="end", size=SMALL, fill=MUTED))
    return found


def svg(title: str, description: str, height: float, parts: Iterable[Markup], width: float = WIDTH) -> Markup:
    """The picture. One wider than a phone keeps its size and leaves scrolling to its frame."""
    wide = width > WIDTH
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="picture{}" role="img" viewBox="0 0 {:.0f} {:.0f}" '
        'width="{:.0f}"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(
        " wide" if wide else "",
        width,
        height,
        width if wide else width * GROWTH,
        clean(title),
        clean(description),
        Markup("").join(parts),
    )


def with_style(picture: Markup, stylesheet: str) -> Markup:
    """The picture with the console's stylesheet in it, as a file of its own needs it."""
    return picture.replace("<title>", Markup("<style>{}</style><title>").format(Markup(stylesheet)), 1)


def nothing(title: str, sentence: str) -> Markup:
    """The picture of no data: it says so."""
    return svg(title, sentence, 30, [text(0, 20, sentence, fill=MUTED)])
