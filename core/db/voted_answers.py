"""Answers that have votes, as snapshots need them."""

import pyarrow as pa

from core.db.store import Store, Transaction


def read(store: Store, wanted: pa.Table, *, has_text: bool) -> pa.Table:
    """Read answers. `wanted` has interaction_id and choice, -1 where a vote names none.

    An interaction that is not stored has no row. All answers of a model can take minutes, so no transaction is open.
    """
    return store.arrow("voted_answers.read", {"given": wanted}, has_text=has_text).read_all()


def add(transaction: Transaction, answers: pa.Table, *, model: str, has_text: bool) -> None:
    """Keep answers that were read. An answer that was deleted or erased since then is not added."""
    transaction.run("voted_answers.delete_others", model=model, has_text=has_text)
    transaction.run_table("voted_answers.add", answers)
