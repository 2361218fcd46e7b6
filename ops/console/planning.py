"""The page that says how much traffic a model needs: its form, filled in with what the last day was like."""

from datetime import timedelta
from typing import Any

from fastapi import Request

from core.acts import only_numbers
from core.db import audience
from core.errors import InputError
from core.route_list import RouteList
from core.settings import ModelSettings
from ops import views
from ops.console.pages import Text, View, figure, page_adder, visible_models
from ops.console.rendering import Pages
from ops.control import Control
from ops.needed_traffic import needed_traffic

MEASURED = timedelta(days=1)
SHARES = ("voted", "labelled", "approval", "gain")
DEFAULTS = {"users": 1000.0, "requests": 3.0, "voted": 0.2, "labelled": 0.1, "approval": 0.7, "gain": 0.05}
# Fewer requests or thumbs of a day say little about the next one.
FEWEST = 30


def create_router(control: Control, pages: Pages) -> RouteList:
    """The page and its `.json` twin."""

    def plan(
        request: Request,
        model: Text = None,
        users: Text = None,
        requests: Text = None,
        voted: Text = None,
        labelled: Text = None,
        approval: Text = None,
        gain: Text = None,
    ) -> View:
        names = visible_models(control, request)
        name = model or next(iter(names), None)
        given = {
            "users": users,
            "requests": requests,
            "voted": voted,
            "labelled": labelled,
            "approval": approval,
            "gain": gain,
        }
        settings = views.settings_of(control, name) if name else ModelSettings(labels=["no", "yes"])
        measured = _measured(control, name) if name else {}
        asked = DEFAULTS | measured | _figures(given)
        return _plan(asked, settings) | {"models": names, "chosen": name, "measured": measured, "asked": asked}

    router = RouteList()
    page_adder(router, control, pages)("/plan", "plan.html", plan, only_numbers)
    return router


def _plan(asked: dict[str, float], settings: ModelSettings) -> dict[str, Any]:
    # The formulas need SciPy, which control starts without.
    from rollout.traffic_plan import Audience

    shares = (asked[name] for name in SHARES)
    return needed_traffic(Audience(asked["users"], asked["requests"], *shares), settings)


def _figures(given: dict[str, str | None]) -> dict[str, float]:
    """The fields that are filled in. Raises InputError."""
    found = {name: figure(name, text, float) for name, text in given.items() if text}
    for name in SHARES:
        if found.get(name, 0) > 1:
            raise InputError(f"{name}: {found[name]:g} is more than 1.", hint="Write 20% as 0.2.")
    if found.get("requests", 1) < 1:
        raise InputError(f"requests: {found['requests']:g} is less than 1.", hint="Count users who make a request.")
    return found


def _measured(control: Control, model: str) -> dict[str, float]:
    """What the last day was like, as far as it had enough requests and thumbs to say."""
    found = audience.measure(control.store, model=model, since=control.clock() - MEASURED)
    if found.requests < FEWEST:
        return {}
    shown = {
        "users": float(found.users),
        "requests": round(found.requests / found.users, 2),
        "voted": round(min(1.0, found.thumbed / found.requests), 4),
        "labelled": round(min(1.0, found.labelled / found.requests), 4),
    }
    if found.thumbs >= FEWEST:
        shown["approval"] = round(found.up / found.thumbs, 3)
    return shown
