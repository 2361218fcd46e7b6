"""What models and keys use: the page of usage for all who may read, and the page of keys for keys of `admin`.

It shows counts and names, never a secret or a text.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from fastapi import Request

from core.acts import no_act, only_numbers
from core.db import interactions, runs
from core.db.usage import By
from core.route_list import RouteList
from ops import usage_report
from ops.console.pages import Text, View, page_adder, visible_models
from ops.console.rendering import Pages
from ops.control import Control
from ops.serving_costs import Prices

KEY_HOURS = 24
TRAINED = ("trainings", "seconds")
NO_SECRETS = no_act("It shows no secrets.", texts=False)


def create_router(control: Control, pages: Pages) -> RouteList:
    """The page of usage and its `.json` twin."""

    def usage(request: Request, model: Text = None, by: By = "day") -> View:
        names = [model] if model else visible_models(control, request)
        whole = not model and request.state.admission.models is None
        return _of_models(control, names, by, whole) | {"chosen": model or None, "by": by}

    router = RouteList()
    page_adder(router, control, pages)("/usage", "usage.html", usage, only_numbers)
    return router


def create_keys_router(control: Control, pages: Pages) -> RouteList:
    """The page of keys and its `.json` twin, for keys of `admin`."""

    def keys() -> View:
        since, prices = control.clock() - timedelta(hours=KEY_HOURS), Prices.of(control.settings.engine)
        rows = interactions.usage_by_key(control.store, since=since)
        every = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
        for row in rows:
            row["tokens"] = row["prompt_tokens"] + row["completion_tokens"]
            hours = KEY_HOURS * row["tokens"] / every if every else 0.0
            row["serving_cost"] = prices.cost(row["prompt_tokens"], row["completion_tokens"], hours)
        used = {row["key"]: row for row in rows}
        found = [row | {"used": used.pop(row["id"], None)} for row in control.keyring.all()]
        return {"keys": found, "others": list(used.values()), "hours": KEY_HOURS, "priced_by": prices.basis}

    router = RouteList()
    page_adder(router, control, pages)("/keys", "keys.html", keys, NO_SECRETS)
    return router


def _of_models(control: Control, names: list[str], by: By, whole: bool) -> View:
    """Use of each model and of each period, what its trainings took, and the cost of both where they have prices.

    It reads the table with a row per model, key and day, and the steps of the trainings of these days.
    """
    prices, now = Prices.of(control.settings.engine), control.clock()
    found = usage_report.report(control.store, prices, control.clock, by=by, models=names, with_unused=whole)
    rows, since = found["rows"], found["since"]
    trained = {row["model"]: row for row in runs.trainings(control.store, since=_midnight(since))}
    price = control.settings.engine.price_per_hour
    models: list[View] = []
    for name in names:
        used = usage_report.added([row for row in rows if row["model"] == name], prices)
        took = {what: trained.get(name, {}).get(what, 0) for what in TRAINED}
        cost = {"training_cost": None if price is None else price * took["seconds"] / 3600}
        models.append({"model": name} | used | took | cost)
    days = [row | {"day": date.fromisoformat(row["period"])} for row in rows] if by == "day" else []
    return {
        "models": models,
        "periods": _periods(rows, prices),
        "tokens_by_day": days,
        "price": price,
        **{name: found[name] for name in ("since", "total", "priced_by", "unused_cost", "how")},
        "until": now.date(),
    }


def _periods(rows: Sequence[View], prices: Prices) -> list[View]:
    """The sums of each period, the newest first."""
    names = sorted({row["period"] for row in rows}, reverse=True)
    return [
        {"period": name} | usage_report.added([row for row in rows if row["period"] == name], prices) for name in names
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
