"""Answers that have votes, as snapshots need them."""

import pyarrow as pa

from core.db.store import Transaction


def add(transaction: Transaction, wanted: pa.Table, *, model: str, has_text: bool) -> pa.Table:
    """Read answers, keep them and return them. `wanted` has interaction_id and choice, -1 where a vote names none.

    An interaction that is not stored has no row. No text is deleted in between, because this transaction writes.
    """
    found = transaction.query_table("voted_answers.read", wanted, has_text=has_text)
    transaction.run("voted_answers.delete_others", model=model, has_text=has_text)
    transaction.run_table("voted_answers.add", found)
    return found
