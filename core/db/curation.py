"""The queries of curation, as Arrow tables: votes on a model, requests, and the rules over them."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.db.store import Store, query_tables

REQUESTS_AT_ONCE = 10_000


def votes(store: Store, *, model: str) -> pa.Table:
    """Every vote on a model with what curation needs of its answer, without the texts of prompts."""
    return store.arrow("curation.votes", model=model).read_all()


def requests(store: Store, *, interactions: pa.Array) -> Iterator[pa.RecordBatch]:
    """The requests of these interactions in batches: they do not fit into memory together."""
    yield from store.arrow(
        "curation.requests", {"wanted": pa.table({"interaction_id": interactions})}, REQUESTS_AT_ONCE
    )


def judge(votes: pa.Table, labels: pa.Table, flagged: Collection[str] = (), **rules: Any) -> pa.Table:
    """The votes that were not revoked, each with its bucket or the reason why it makes no row.

    `flagged` are interactions with a flagged answer, besides those that the votes say.
    """
    # One number for the order of time: sorting by it is much faster than by times and ids.
    order = pc.sort_indices(votes, sort_keys=[(name, "ascending") for name in ("time", "arrived", "id")])  # type: ignore[attr-defined]
    number = np.empty(len(votes), np.int64)
    number[order.to_numpy()] = np.arange(len(votes))
    numbered = votes.append_column("n", pa.array(number))
    flags = pa.table({"interaction_id": pa.array(sorted(flagged), pa.string())})
    return query_tables("curation.judge", {"votes": numbered, "labels": labels, "known_flags": flags}, **rules)


def select(candidates: pa.Table, prompts: pa.Table, weights: pa.Table, **rules: Any) -> pa.Table:
    """The candidates with voter's weight, each with the reason why it makes no row, or none.

    `place` is the row of a candidate's prompt in `prompts`. The query has ranks of prompts instead of their texts.
    """
    ranks = pc.rank(prompts["prompt"], sort_keys="ascending", tiebreaker="dense")  # type: ignore[attr-defined]
    numbered = (
        prompts.select(["interaction_id", "cluster", "unreadable"])
        .append_column("rank", ranks)
        .append_column("place", pa.array(range(len(prompts)), pa.int64()))
    )
    tables = {"candidates": candidates, "prompts": numbered, "weights": weights}
    return query_tables("curation.select", tables, **rules)
