"""Trials: trainings of a run's search, with their values, scores and costs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.db.store import Database, Row


def put(
    db: Database,
    *,
    run_id: str,
    number: int,
    state: str,
    values: Mapping[str, Any],
    scores: Sequence[tuple[int, float]],
    score: float | None,
    figures: Mapping[str, float],
    seconds: float,
    reason: str,
) -> None:
    """Add a trial of a run, or replace what is known of it. `seconds` is its cost."""
    db.run(
        "trials.put",
        run_id=run_id,
        number=number,
        state=state,
        values=json.dumps(values),
        scores=json.dumps(scores),
        score=score,
        figures=json.dumps(figures),
        seconds=seconds,
        reason=reason,
    )


def of_run(db: Database, *, run_id: str) -> list[Row]:
    """The trials of a run by number, with values, scores and figures. One in progress when its run ended is stopped."""
    return [_with_json(row) for row in db.rows("trials.of_run", run_id=run_id)]


def last_search(db: Database, *, model: str, method: str) -> Row | None:
    """The newest run of a model whose search by a method has ended with a score: its `id`, and its `search` as kept."""
    row = db.maybe("trials.last_search", model=model, method=method)
    return row and {"id": row["id"], "search": json.loads(row["search"])}


def _with_json(row: Row) -> Row:
    values = row.pop("trial_values")
    return row | {"values": json.loads(values)} | {name: json.loads(row[name]) for name in ("scores", "figures")}
