"""The present state of models, for many of them in one query."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.db.frozen_models import Freeze
from core.db.store import Database, Row
from core.records import Route


@dataclass(frozen=True, slots=True)
class PastChange:
    """A change of the champion: its time and the new version."""

    time: datetime
    version: int


@dataclass(frozen=True, slots=True)
class ModelState:
    """What serves a model and since when, its newest decisions, and what goes on.

    `since` is None if the champion has always served. `newest_decision` is a number of the ledger. `run` is the id and
    the state of the run that has not ended. `holdback` has the version that is held, its share, since when and until
    when, and its newest numbers as JSON.
    """

    route: Route
    since: datetime | None
    since_decision: str | None
    newest_decision: int | None
    promoted: PastChange | None
    rolled_back: PastChange | None
    run: tuple[str, str] | None
    freeze: Freeze | None
    holdback: Row | None


ROUTE = ("model", "rev", "champion", "canary", "share", "previous", "salt", "holdback", "anchor")


def of(db: Database, models: Sequence[str]) -> dict[str, ModelState]:
    """The state of each of these models, by name. A model without a route is left out."""
    return {row["model"]: _state(row) for row in db.rows("model_states.of", models=list(models))}


def _state(row: Row) -> ModelState:
    return ModelState(
        route=Route(**{name: row[name] for name in ROUTE}),
        since=row["since"],
        since_decision=row["since_decision"],
        newest_decision=row["newest_decision"],
        promoted=_change(row["promoted"], row["promoted_version"]),
        rolled_back=_change(row["rolled_back"], row["rolled_back_version"]),
        run=None if row["run"] is None else (row["run"], row["run_state"]),
        freeze=None if row["frozen"] is None else Freeze(row["frozen"], row["frozen_by"], row["frozen_comment"]),
        holdback=None if row["held"] is None else _holdback(row),
    )


def _change(time: datetime | None, version: int) -> PastChange | None:
    return None if time is None else PastChange(time, version)


def _holdback(row: Row) -> Row:
    return {
        "version": row["held"],
        "share": row["held_share"],
        "since": row["held_since"],
        "until": row["held_until"],
        "looked": row["held_looked"],
        "numbers": row["held_numbers"],
    }
