"""What models and keys use: the page of usage for all who may read, and the page of keys for keys of `admin`.

It shows counts and names, never a secret or a text.
"""

from datetime import timedelta

from fastapi import Request

from core.acts import no_act, only_numbers
from core.db import interactions, runs
from core.route_list import RouteList
from ops.console.pages import Text, View, page_adder, visible_models
from ops.console.rendering import Pages
from ops.control import Control

DAYS = 30
KEY_HOURS = 24
MILLION = 1_000_000
TRAINED = ("trainings", "seconds")
NO_SECRETS = no_act("It shows no secrets.", texts=False)


def create_router(control: Control, pages: Pages) -> RouteList:
    """The page of usage and its `.json` twin."""

    def usage(request: Request, model: Text = None) -> View:
        return _of_models(control, [model] if model else visible_models(control, request)) | {"chosen": model or None}

    router = RouteList()
    page_adder(router, control, pages)("/usage", "usage.html", usage, only_numbers)
    return router


def create_keys_router(control: Control, pages: Pages) -> RouteList:
    """The page of keys and its `.json` twin, for keys of `admin`."""

    def keys() -> View:
        since = control.clock() - timedelta(hours=KEY_HOURS)
        used = {row["key"]: row for row in interactions.usage_by_key(control.store, since=since)}
        found = [row | {"used": used.pop(row["id"], None)} for row in control.keyring.all()]
        token_price = control.settings.engine.price_per_million_tokens
        others = list(used.values())
        for row in (*(row["used"] for row in found if row["used"]), *others):
            row["serving_cost"] = _cost(token_price, row["tokens"] / MILLION)
        return {"keys": found, "others": others, "hours": KEY_HOURS, "token_price": token_price}

    router = RouteList()
    page_adder(router, control, pages)("/keys", "keys.html", keys, NO_SECRETS)
    return router


def _cost(price: float | None, amount: float) -> float | None:
    """The cost of an amount, None without a price."""
    return None if price is None else price * amount


def _of_models(control: Control, names: list[str]) -> View:
    """Requests, errors and tokens of each model, what its trainings took, and the cost of both where they have prices.

    It reads the table with a row per day, version and arm, and the steps of the trainings of these days.
    """
    since = (control.clock() - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [row for row in interactions.usage_by_day(control.store, since=since.date()) if row["model"] in names]
    trained = {row["model"]: row for row in runs.trainings(control.store, since=since)}
    counts = {name: {"requests": 0, "errors": 0, "tokens": 0} for name in names}
    for row in days:
        for what in ("requests", "errors", "tokens"):
            counts[row["model"]][what] += row[what]
    price, token_price = control.settings.engine.price_per_hour, control.settings.engine.price_per_million_tokens
    models: list[View] = [
        {"model": name} | counts[name] | {what: trained.get(name, {}).get(what, 0) for what in TRAINED}
        for name in names
    ]
    for row in models:
        row["serving_cost"] = _cost(token_price, row["tokens"] / MILLION)
        row["training_cost"] = _cost(price, row["seconds"] / 3600)
    for row in days:
        row["serving_cost"] = _cost(token_price, row["tokens"] / MILLION)
    return {"models": models, "tokens_by_day": days, "days": DAYS, "price": price, "token_price": token_price}
