"""Votes as curation reads them, with their requests."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.settings import ModelSettings, SplitSettings
from feedback.curation import VOTES, Clusters, Curated, curate
from feedback.duplicates import clusters as near_duplicates
from feedback.prepared_prompts import prepare
from feedback.split import bucket_of, split_key

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
SPLIT = SplitSettings()


def user_in(bucket: str, n: int = 0, split: SplitSettings = SPLIT) -> str:
    """The n-th of the names user0, user1 and so on whose bucket begins so."""
    names = (f"user{k}" for k in range(100_000))
    found = (u for u in names if bucket_of(split_key(u), train=split.train, dev=split.dev).startswith(bucket))
    return [next(found) for _ in range(n + 1)][-1]


def vote(number: int, text: str = "", said: str | None = "good", **changes: Any) -> dict[str, Any]:
    """A label of a train user on the user's own answer, one per number and second."""
    user = user_in("train", number)
    return {
        "id": f"f{number:04d}",
        "time": NOW + timedelta(seconds=number),
        "arrived": NOW,
        "type": "label",
        "said": said,
        "answer": None,
        "up": False,
        "key_id": None,
        "app": None,
        "voter": None,
        "interaction_id": f"i{number}",
        "asker": user,
        "finish_reason": "stop",
        "choice_unknown": False,
        "status": 200,
        "revoked": False,
        "quarantined": False,
        "endpoint": "chat",
        "request": json.dumps({"messages": [{"role": "user", "content": text or f"text {number}"}]}),
    } | changes


def thumb(number: int, up: bool = True, answer: str | None = "good", **changes: Any) -> dict[str, Any]:
    return vote(number, said=answer, type="thumbs", up=up, **changes)


def _near(_: pa.Array, prompts: Sequence[str]) -> npt.NDArray[np.int64]:
    return near_duplicates(list(prompts))


def curated(votes: Sequence[dict[str, Any]], settings: ModelSettings, clusters: Clusters = _near) -> Curated:
    """What curation makes of these votes."""
    rows = [{name: _naive(one[name]) for name in VOTES.names} for one in votes]
    requests = {one["interaction_id"]: (one["endpoint"], one["request"]) for one in votes}

    def asked(wanted: pa.Array) -> list[pa.RecordBatch]:
        ids = wanted.to_pylist()
        columns = [ids, *([requests[id][place] for id in ids] for place in (0, 1))]
        names = ["interaction_id", "endpoint", "request"]
        return [pa.record_batch([pa.array(column, pa.string()) for column in columns], names)]

    def prompts(wanted: pa.Array) -> pa.Table:
        return prepare(asked(wanted), settings.privacy.rules)

    return curate(pa.Table.from_pylist(rows, VOTES), prompts, settings, clusters=clusters)


def kept(votes: Sequence[dict[str, Any]], settings: ModelSettings) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """(vote, label) of each row in order, and how many votes were left out for which reason."""
    found = curated(votes, settings)
    rows = found.rows.to_pylist()
    return [(row["feedback_id"], row["label"]) for row in rows], found.reasons()


def _naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value
