"""Whether the routes are what the ledger says. Pure: it takes the newest route of each model with its decision."""

import json
from collections.abc import Iterable
from typing import Any

# What of a route its decision records.
RECORDED = ("rev", "champion", "canary", "share", "previous", "holdback", "anchor")


def recorded_route(route: Any) -> dict[str, Any]:
    """A route as its decision records it."""
    return {name: getattr(route, name) for name in RECORDED}


def fault(rows: Iterable[dict[str, Any]]) -> str:
    """The first route that differs from its decision, in a sentence; empty if there is none.

    A row has a route's columns, its decision (`seq` is None if there is none), `recorded` (the route in that decision,
    as JSON, None in older rows) and `newer` (a later decision that changed the route of the model, or None).
    """
    return next((said for row in rows if (said := _fault(row))), "")


def _fault(row: dict[str, Any]) -> str:
    model = row["model"]
    if row["newer"] is not None:
        return f"Decision {row['newer']} changed the route of {model}, and the route that serves is not that one."
    if row["decision_id"] is None:
        return ""
    if row["seq"] is None:
        return f"The route of {model} names the decision {row['decision_id']}, and the ledger has none of that name."
    if row["recorded"] is None:  # from before decisions recorded the route
        known = (row["from_version"], row["to_version"])
        return "" if row["champion"] in known else _differs(row, "champion", f"version {known[0]} or {known[1]}")
    recorded = json.loads(row["recorded"])
    different = next((name for name in RECORDED if recorded.get(name) != row[name]), None)
    return _differs(row, different, str(recorded.get(different))) if different else ""


def _differs(row: dict[str, Any], name: str, recorded: str) -> str:
    return (
        f"The route of {row['model']} has {name} {row[name]}, and decision {row['seq']} recorded {recorded}: "
        f"somebody changed the route without a decision."
    )
