"""Votes and texts in which bursts are looked for, as Arrow tables."""

from collections.abc import Iterator

import pyarrow as pa

from core.db.store import Store

TEXTS_AT_ONCE = 10_000


def votes(store: Store, *, model: str, type: str, limit: int) -> pa.Table:
    """The newest votes of a type with their voter: key, voter, time in seconds, said, interaction_id."""
    return store.arrow("bursts.votes", model=model, type=type, limit=limit).read_all()


def texts(store: Store, *, interactions: pa.Array) -> Iterator[pa.RecordBatch]:
    """Requests and answers of interactions, in batches: they do not fit into memory together."""
    wanted = pa.table({"interaction_id": interactions})
    yield from store.arrow("bursts.texts", {"wanted": wanted}, TEXTS_AT_ONCE)
