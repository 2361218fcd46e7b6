"""The queries of pairs, as Arrow tables: votes that judge answers, and the answers."""

from collections.abc import Iterator

import pyarrow as pa

from core.db.store import Store

ANSWERS_AT_ONCE = 10_000


def votes(store: Store, *, model: str, middle: float | None) -> pa.Table:
    """Every vote that judges answers of a model, without texts. Ratings above `middle` are up."""
    return store.arrow("pairs.votes", model=model, middle=middle).read_all()


def answers(store: Store, wanted: pa.Table) -> Iterator[pa.RecordBatch]:
    """The answers of these interactions and choices, in batches."""
    yield from store.arrow("pairs.answers", {"wanted": wanted}, ANSWERS_AT_ONCE)
