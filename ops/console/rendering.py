"""Rendering: templates that escape everything, the formats of their numbers, and the headers of a page.

It owns how things look; what is shown is made by views.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from ops.blind_labels import reviewer_of
from ops.console.assets import asset_url, stylesheet
from ops.console.links import PageScopes
from ops.console.svg.checks import check_name
from ops.console.svg.evidence import confusion_rows, drawn_kpis, durations, interval_bars, measured_kpis
from ops.console.svg.gate import OUTCOMES, forest, gain_bar, gate_plot
from ops.console.svg.history import kpi_over_versions, learning_curve, loss_curve, stacked_days
from ops.console.svg.live import confidence_sequence
from ops.console.svg.primitives import arm_words, kpi_words
from ops.console.svg.search import parallel_trials, share_curve
from ops.console.svg.slices import has_fallen, slice_margin, slice_plot
from ops.console.svg.sparkline import sparkline
from ops.console.terms import USED, explanations, term, term_or_text
from ops.verdict_words import VERDICT_WORDS
from retrain.progress import share_words

# The badge of each page that has one, by its path, for a visitor who may see some models, or all where None is given.
Count = Callable[[Collection[str] | None, str | None], Mapping[str, Any]]
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Within the console alone; with none at all a browser's forms would not say where they are from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@cache
def environment(*packages: str) -> Environment:
    """Templates that escape everything, with the console's formats; `packages` bring templates of their own.

    All callers share one, so that a template is compiled once in a process. Nobody may change it.
    """
    loaders = [PackageLoader(package) for package in (*packages, "ops.console")]
    found = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters.update(
        when=_when,
        iso=_iso,
        number=_number,
        signed=_signed,
        thousands=_thousands,
        lasting=_lasting,
        span=_span,
        level=_level,
        ago=_ago,
        check_name=check_name,
        combined=_combined,
        points=_points,
        kpi_words=kpi_words,
        arm_words=arm_words,
    )
    found.globals.update(
        words=VERDICT_WORDS,
        outcomes=OUTCOMES,
        interval_bars=interval_bars,
        confidence_sequence=confidence_sequence,
        gate_plot=gate_plot,
        confusion_rows=confusion_rows,
        drawn_kpis=drawn_kpis,
        gain_bar=gain_bar,
        forest=forest,
        measured_kpis=measured_kpis,
        durations=durations,
        kpi_over_versions=kpi_over_versions,
        learning_curve=learning_curve,
        loss_curve=loss_curve,
        parallel_trials=parallel_trials,
        share_curve=share_curve,
        share_words=share_words,
        stacked_days=stacked_days,
        has_fallen=has_fallen,
        slice_margin=slice_margin,
        slice_plot=slice_plot,
        sparkline=sparkline,
        term=term,
        term_or_text=term_or_text,
        explanations=explanations,
        asset_url=asset_url,
        stylesheet=stylesheet,
    )
    return found


class Pages:
    """Renders templates to whole answers. `badges` counts what waits for a visitor who may see some models and
    labels as some user.

    A link to a page whose scope in `scopes` the visitor lacks has no address.
    """

    def __init__(self, badges: Count = lambda *_: {}, scopes: PageScopes | None = None) -> None:
        self._templates = environment()
        self._badges = badges
        self._scopes = scopes

    def render(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A template as an answer with every header that a page needs.

        Badges read the store. A page that is made in the event loop gives its own `badges`, or none.
        """
        visitor = values.get("visitor")
        if "badges" not in values:
            values["badges"] = self._count(visitor) if visitor else {}
        values[USED] = {}
        page = self._templates.get_template(name).render(**values)
        if visitor and self._scopes and not visitor.is_admin:
            page = self._scopes.with_open_links(page, visitor.opens)
        return HTMLResponse(page, status, headers=HEADERS)

    def _count(self, visitor: Any) -> Mapping[str, Any]:
        return self._badges(visitor.models, reviewer_of(visitor.key_id) if visitor.may_act else None)


def _when(value: datetime | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.strftime("%Y-%m-%d %H:%M:%S UTC")


def _iso(value: datetime | str) -> str:
    return value if isinstance(value, str) else value.isoformat()


def _ago(value: datetime | None, now: datetime) -> str:
    return "never" if value is None else f"{_lasting(max(0.0, (now - value).total_seconds()))} ago"


def _lasting(seconds: float | None) -> str:
    """Seconds in the two largest units that say something."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, days = minutes // 60, minutes // 1440
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if not days else f"{days} d {hours % 24} h"


def _span(seconds: float) -> str:
    """The length of a window in its largest unit: "10 min", "1 h", "7 d"."""
    units = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    return next(f"{seconds / size:g} {unit}" for size, unit in units if seconds >= size)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _level(value: float | None) -> str:
    """A level of error with two digits that say something: those spent late are small."""
    return "–" if value is None else f"{value:.2g}"


def _signed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}"


def _points(score: float | None) -> str:
    """A difference of scores, from -2 to +2, as points of approval."""
    return "–" if score is None else f"{50 * score:+.1f}"


def _combined(kept: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a query with more of them."""
    return {**kept, **more}


def _thousands(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
