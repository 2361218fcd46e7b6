"""The console's pages, rendered on the server; nothing on them comes from elsewhere.

It owns templates and their numbers' formats; what is shown is made by `ops.views`.
"""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from ops import views
from ops.console.drawing import arm_words, kpi_words
from ops.console.pictures import (
    OUTCOMES,
    confidence_sequence,
    confusion,
    drawn_kpis,
    gain_bar,
    gate_plot,
    interval_bars,
)  # fmt: skip
from ops.control import Control

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def environment(*packages: str) -> Environment:
    """Templates that escape everything, with the console's formats; `packages` bring templates of their own."""
    loaders = [PackageLoader(package) for package in (*packages, "ops.console")]
    found = Environment(loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    found.filters.update(when=_when, number=_number, signed=_signed, kpi_words=kpi_words, arm_words=arm_words)
    found.globals.update(
        words=views.WORDS, outcomes=OUTCOMES, interval_bars=interval_bars, confidence_sequence=confidence_sequence,
        gate_plot=gate_plot, confusion=confusion, drawn_kpis=drawn_kpis, gain_bar=gain_bar,
    )  # fmt: skip
    return found


def create_router(control: Control) -> APIRouter:
    """The promotions page, a page for each decision, and their JSON twins."""
    router = APIRouter()
    templates = environment()

    def page(name: str, **values: Any) -> Response:
        return HTMLResponse(templates.get_template(name).render(**values), headers=HEADERS)

    @router.get("/", include_in_schema=False)
    def front() -> Response:
        return RedirectResponse("/promotions")

    @router.get("/promotions", include_in_schema=False)
    def promotions(model: str | None = None) -> Response:
        return page(
            "promotions.html", models=views.models(control), decisions=views.decisions(control.store, model, 200),
            chosen=model, ledger=views.ledger(control.store),
        )  # fmt: skip

    @router.get("/promotions.json", include_in_schema=False)
    def promotions_json(model: str | None = None) -> Any:
        return {"models": views.models(control), "decisions": views.decisions(control.store, model, 200),
                "ledger": views.ledger(control.store)}  # fmt: skip

    @router.get("/promotions/{identity}.json", include_in_schema=False)
    def decision_json(identity: str) -> Any:
        return views.decision(control.store, identity)

    @router.get("/promotions/{identity}", include_in_schema=False)
    def decision(identity: str) -> Response:
        return page("decision.html", d=views.decision(control.store, identity))

    return router


def _when(value: datetime | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}"
