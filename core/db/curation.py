"""The queries of curation, as Arrow tables: votes on a model, requests, and the rules over them."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.db import voted_answers
from core.db.store import Store, query_tables

REQUESTS_AT_ONCE = 10_000


def votes(store: Store, *, model: str, with_answers: bool) -> pa.Table:
    """Every vote on a model with what curation needs of its answer, without the texts of prompts.

    Answers are read where a vote is the first on its answer, and kept. `said` of thumbs is null without `with_answers`.
    """
    found = store.arrow("curation.votes", model=model, has_text=with_answers).read_all()
    is_new = found["is_new"]
    found = found.drop_columns(["is_new"])
    new = found.filter(is_new)
    if not len(new):
        return found
    wanted = new.select(["interaction_id", "choice"]).group_by(["interaction_id", "choice"]).aggregate([])
    answers = voted_answers.read(store, wanted, has_text=with_answers)
    with store.transaction() as transaction:
        voted_answers.add(transaction, answers, model=model, has_text=with_answers)
    new = query_tables("curation.complete", {"votes": new, "answers": answers}).cast(found.schema)
    return pa.concat_tables([found.filter(pc.invert(is_new)), new])  # type: ignore[attr-defined]


def requests(store: Store, *, interactions: pa.Array) -> Iterator[pa.RecordBatch]:
    """The requests of these interactions in batches: they do not fit into memory together."""
    yield from store.arrow(
        "curation.requests", {"wanted": pa.table({"interaction_id": interactions})}, REQUESTS_AT_ONCE
    )


def hashes(interactions: pa.ChunkedArray) -> pa.Table:
    """A 64-bit hash of each id, `hashed`, with its `place`. Ids that are null have none."""
    votes = pa.table({"place": pa.array(range(len(interactions)), pa.int64()), "interaction_id": interactions})
    return query_tables("curation.hashes", {"votes": votes})


def judge(votes: pa.Table, said: pa.Table, people: pa.Table, labels: pa.Table, **rules: Any) -> pa.Table:
    """The votes that were not revoked, each with its bucket or the reason why it makes no row. All have numbers."""
    tables = {"votes": votes, "said": said, "people": people, "labels": labels}
    return query_tables("curation.judge", tables, **rules)


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
