"""Chat completions that apps stored."""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from core.db.columns import table
from core.db.rows import StoredCompletionRow, utc
from core.db.store import Database, Row, Transaction

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("time", pa.timestamp("us")),
        ("key_id", pa.string()),
        ("metadata", pa.string()),
        ("completion", pa.string()),
    ]
)


def add(transaction: Transaction, rows: Sequence[StoredCompletionRow]) -> None:
    """Add stored completions. Raises RowKnown if one of the ids is stored; look for them with `known` first."""
    plain = [(row.id, utc(row.time), row.key_id, bytes(row.metadata), bytes(row.completion)) for row in rows]
    transaction.run_table("stored_completions.add", table(COLUMNS, plain))


def known(transaction: Transaction, ids: Sequence[str]) -> set[str]:
    """Those of the ids that are stored, or were and are deleted."""
    return {row["id"] for row in transaction.rows_in("stored_completions.known", ids)}


def find(
    db: Database, *, id: str, owner: str | None, models: Sequence[str] | None, responses: bool = False
) -> Row | None:
    """One stored completion of a key, or one response of the Responses API."""
    return db.maybe("stored_completions.find", id=id, owner=owner, models=models, responses=responses)


def position(db: Database, *, sign: int, id: str, owner: str | None) -> int | None:
    """The position of a stored completion in its list, for paging."""
    row = db.maybe("stored_completions.position", sign=sign, id=id, owner=owner)
    return row["place"] if row else None


def page(
    db: Database,
    *,
    owner: str | None,
    models: Sequence[str] | None,
    model: str | None,
    metadata: str,
    after: str | None,
    sign: int,
    place: int | None,
    limit: int,
) -> list[Row]:
    """One page of a key's stored completions."""
    return db.rows(
        "stored_completions.page",
        owner=owner,
        models=models,
        model=model,
        metadata=metadata,
        after=after,
        sign=sign,
        place=place,
        limit=limit,
    )


def set_metadata(db: Database, *, metadata: str, id: str) -> None:
    """Replace the metadata of a stored completion."""
    db.run("stored_completions.set_metadata", metadata=metadata, id=id)


def delete(db: Database, *, time: datetime, id: str) -> None:
    """Delete a stored completion."""
    db.run("stored_completions.delete", time=time, id=id)
