"""Prompts of interactions as snapshots use them: read, scrubbed and hashed."""

import pyarrow as pa

from core.db.store import Store, Transaction

PREPARED = pa.schema(
    [
        ("interaction_id", pa.string()),
        ("prompt", pa.string()),
        ("scrubbed", pa.string()),
        ("replaced", pa.string()),
        ("text_hash", pa.uint64()),
        ("unreadable", pa.string()),
    ]
)
PROMPTS_AT_ONCE = 10_000


def find(store: Store, *, rules: str, interactions: pa.Array) -> pa.Table:
    """Those of these interactions' prompts that are stored and made by these rules: a table of `PREPARED`."""
    wanted = pa.table({"interaction_id": interactions})
    found = store.arrow("prepared_prompts.find", {"wanted": wanted}, PROMPTS_AT_ONCE, rules=rules)
    return found.read_all().cast(PREPARED)


def add(transaction: Transaction, table: pa.Table, *, model: str, rules: str) -> None:
    """Add prompts of a model: a table of `PREPARED`. One that is stored already stays.

    A text that was deleted since it was read is not added.
    """
    own = table.append_column("model", pa.repeat(model, len(table))).append_column(
        "rules", pa.repeat(rules, len(table))
    )
    transaction.run_table("prepared_prompts.add", own)


def delete_others(transaction: Transaction, *, model: str, rules: str) -> None:
    """Delete the prompts of a model that other rules made."""
    transaction.run("prepared_prompts.delete_others", model=model, rules=rules)
