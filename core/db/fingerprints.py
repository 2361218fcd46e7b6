"""Signatures of prompts by which near-duplicates are found, and what the prompts of a model share."""

from dataclasses import dataclass

import pyarrow as pa

from core.db.store import Database, Store, Transaction


@dataclass(frozen=True, slots=True)
class StoredCommon:
    """What the prompts of a model share: hashes as bytes, and the version that signatures name."""

    version: int
    template: bytes
    passages: bytes


def common(db: Database, *, model: str) -> StoredCommon | None:
    """What the prompts of a model share, or None before its first snapshot."""
    row = db.maybe("fingerprints.common", model=model)
    return StoredCommon(**row) if row else None


def set_common(transaction: Transaction, stored: StoredCommon, *, model: str) -> None:
    """Set what the prompts of a model share. Signatures of other versions are deleted."""
    transaction.run(
        "fingerprints.set_common",
        model=model,
        version=stored.version,
        template=stored.template,
        passages=stored.passages,
    )
    transaction.run("fingerprints.delete_model", model=model)


def find(store: Store, *, model: str, version: int, interactions: pa.Array) -> pa.Table:
    """Signatures of these interactions: `words`, `pieces`, and `place`, the number of the interaction in the array."""
    wanted = pa.table({"interaction_id": interactions, "place": pa.array(range(len(interactions)), pa.int64())})
    return store.arrow("fingerprints.find", {"wanted": wanted}, model=model, version=version).read_all()


def add(transaction: Transaction, table: pa.Table) -> None:
    """Add signatures: a table with the columns of `fingerprints`."""
    transaction.run_table("fingerprints.add", table)
