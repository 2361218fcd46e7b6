"""The overview: one row per model with what serves, how it does, what comes next, and what needs a person.

It reads bounded windows of traffic and feedback, so that its cost does not grow with the age of the store.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from core.db import feedback, interactions
from core.db import quarantines as quarantines_table
from core.db.store import Row
from ops import views
from ops.alarms.watch import AlarmWatch, urgent
from ops.canary_progress import canaries
from ops.console.needs import needs
from ops.console.page_data import judged
from ops.control import Control

View = views.View
# The maximum number of judged candidates in the small picture of a model.
MOST_POINTS = 12
# Windows are tried from the shortest on, until one has ENOUGH rows of all models together.
TRAFFIC_WINDOWS = (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1))
VOTE_WINDOWS = (timedelta(days=1), timedelta(days=7))
ENOUGH = 1000


def overview(control: Control, watch: AlarmWatch, names: Sequence[str], allowed: Collection[str] | None) -> View:
    """What the page shows of these models. `allowed` are the models that the visitor may see, None for all."""
    store, now = control.store, control.clock()
    models = views.models(control, names)
    alarms = urgent(watch.alarms(allowed))
    traffic, traffic_seconds = _newest(
        lambda since: interactions.recent_traffic(store, since=since), "requests", TRAFFIC_WINDOWS, now
    )
    votes, vote_seconds = _newest(lambda since: feedback.recent_thumbs(store, since=since), "thumbs", VOTE_WINDOWS, now)
    progress, curves = canaries(control), judged(store, names, MOST_POINTS)
    return {
        "models": [
            model
            | {
                "judged": curves[model["model"]],
                "traffic": traffic.get(model["model"]),
                "votes": votes.get(model["model"]),
                "progress": progress.get(model["model"]),
            }
            for model in models
        ],
        "needs": [asdict(need) for need in needs(alarms, models, quarantines_table.undecided(store))],
        "traffic_seconds": traffic_seconds,
        "vote_seconds": vote_seconds,
    }


def _newest(
    read: Callable[[datetime], list[Row]], count: str, windows: Sequence[timedelta], now: datetime
) -> tuple[dict[str, Any], float]:
    """Rows by model in the shortest window that has enough, or else in the longest, and its length in seconds."""
    found, window = list[Row](), windows[-1]
    for window in windows:
        found = read(now - window)
        if sum(row[count] for row in found) >= ENOUGH:
            break
    return {row["model"]: row for row in found}, window.total_seconds()
