"""Drawing: the few shapes, scales and words that every picture of the console is made of, as SVG text.

It owns escaping, colours and type sizes; it must not know what a picture shows.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

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

# The fallbacks are middle tones, so that a picture saved without its page reads on white and on black.
INK = "currentColor"
MUTED = "var(--muted, #737d87)"
RULE = "var(--rule, #9aa3ab)"
ACCENT = "var(--accent, #3f7fe0)"
GOOD = "var(--good, #2f8f57)"
BAD = "var(--bad, #d2574c)"
OPEN = "var(--open, #a97a16)"
# Colours of series, apart from those that say good, bad and open.
SERIES = (
    "var(--series-1, #3f7fe0)",
    "var(--series-2, #c455a8)",
    "var(--series-3, #1f969d)",
    "var(--series-4, #8a72dd)",
    "var(--series-5, #737d87)",
    INK,
)
PAPER = "var(--card, #ffffff)"

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
    """A line of text at its baseline."""
    return Markup(
        '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="{:g}" font-weight="{}" fill="{}">{}</text>'
    ).format(x, y, anchor, size, 600 if bold else 400, fill, clean(content))


def line(
    x1: float, y1: float, x2: float, y2: float, *, stroke: str = INK, width: float = 1.0, dash: str = "none"
) -> Markup:
    """A straight line."""
    return Markup(
        '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{:g}" stroke-dasharray="{}"/>'
    ).format(x1, y1, x2, y2, stroke, width, dash)


def dot(x: float, y: float, *, fill: str = INK, stroke: str = INK, radius: float = 4.5) -> Markup:
    """A round mark."""
    return Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" fill="{}" stroke="{}" stroke-width="1.5"/>').format(
        x, y, radius, fill, stroke
    )


def box(
    x: float, y: float, width: float, height: float, *, fill: str, opacity: float = 1.0, round_by: float = 0.0
) -> Markup:
    """A rectangle."""
    return Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="{:g}" fill="{}" fill-opacity="{:.3f}"/>'
    ).format(x, y, width, height, round_by, fill, opacity)


def path(points: Iterable[tuple[float, float]], *, stroke: str, width: float = 2.0, dash: str = "none") -> Markup:
    """A line through points."""
    return Markup(
        '<polyline points="{}" fill="none" stroke="{}" stroke-width="{:g}" stroke-dasharray="{}" '
        'stroke-linejoin="round"/>'
    ).format(_points(points), stroke, width, dash)


def area(points: Iterable[tuple[float, float]], *, fill: str, opacity: float = 0.18) -> Markup:
    """A filled shape through points."""
    return Markup('<polygon points="{}" fill="{}" fill-opacity="{:g}"/>').format(_points(points), fill, opacity)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


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
        'width="{:.0f}" fill="currentColor"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(
        " wide" if wide else "",
        width,
        height,
        width if wide else width * GROWTH,
        clean(title),
        clean(description),
        Markup("").join(parts),
    )


def nothing(title: str, sentence: str) -> Markup:
    """The picture of no data: it says so."""
    return svg(title, sentence, 30, [text(0, 20, sentence, fill=MUTED)])
