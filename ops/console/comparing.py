"""Two versions of a model side by side: how each was made, how it was judged, and what users said of it."""

import json
from datetime import timedelta
from typing import Any

from core.db import decisions, feedback, interactions, versions
from core.errors import NotFound
from ops import views
from ops.control import Control

View = views.View
DAYS = 30


def compare(control: Control, model: str, first: int | None, second: int | None) -> View:
    """The rows of the comparison, each with both values. Without a choice: the champion and its canary or predecessor.

    Raises NotFound for a version that the model does not have.
    """
    views.settings_of(control, model)
    route = control.promotion.route(model)
    first = route.champion if first is None else first
    if second is None:
        second = next((one for one in (route.canary, route.previous) if one is not None), first)
    found = [_version(control, model, number) for number in (first, second)]
    bodies = [_body(control, model, number) for number in (first, second)]
    together = bodies[1].get("from_version") == first and bool(bodies[1].get("evidence", {}).get("arms"))
    measured = [_measured(bodies[1], "champion") if together else _measured(bodies[0], "candidate")]
    measured.append(_measured(bodies[1], "candidate"))
    live = _live(control, model)
    groups = {
        "How it was made": [_made(version, body) for version, body in zip(found, bodies, strict=True)],
        "How it was judged": measured,
        f"Live, the last {DAYS} days": [live.get(number, {}) for number in (first, second)],
    }
    return {
        "model": model,
        "first": first,
        "second": second,
        "together": together,
        "groups": [{"name": name, "rows": _rows(*pair)} for name, pair in groups.items()],
    }


def _version(control: Control, model: str, number: int) -> View:
    found = versions.made(control.store, model=model, version=number)
    if found is None:
        raise NotFound("version", f"{model}@{number}", hint=f"See: loraloop versions {model}")
    return found


def _body(control: Control, model: str, number: int) -> View:
    row = decisions.with_lineage(control.store, model=model, version=number)
    return json.loads(row.body) if row else {}


def _made(version: View, body: View) -> View:
    lineage = body.get("lineage", {})
    plain = {
        "made": version["time"],
        "kind": version["kind"],
        "rank": version["rank"],
        "snapshot": lineage.get("snapshot"),
    }
    rows = {f"rows in {split}": n for split, n in lineage.get("rows", {}).items()}
    training = {name.replace("_", " "): value for name, value in lineage.get("training", {}).items() if name != "rank"}
    return plain | rows | training


def _measured(body: View, arm: str) -> View:
    found = body.get("evidence", {}).get("arms", {}).get(arm, {})
    return {kpi: measure["value"] for kpi, measure in found.items()}


def _live(control: Control, model: str) -> dict[int, View]:
    """Requests, errors, tokens and thumbs by version."""
    since = control.clock() - timedelta(days=DAYS)
    found: dict[int, dict[str, Any]] = {}
    for row in interactions.traffic_by_day(control.store, model=model, since=since.date()):
        own = found.setdefault(row["version"], {"requests": 0, "errors": 0, "tokens": 0})
        for what in own:
            own[what] += row[what]
    for row in feedback.thumbs_by_version(control.store, model=model, since=since):
        up = {"thumbs": row["thumbs"], "share of thumbs up": row["up"] / row["thumbs"]}
        found.setdefault(row["version"], {}).update(up)
    return found


def _rows(first: View, second: View) -> list[View]:
    names = [*first, *(name for name in second if name not in first)]
    return [{"name": name, "first": first.get(name), "second": second.get(name)} for name in names]
