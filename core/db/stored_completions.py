"""Chat completions that apps stored."""

from collections.abc import Sequence
from datetime import datetime

from core.db.store import Database, Row, Transaction


def add(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add stored completions."""
    transaction.run_set("stored_completions.add", rows)


def find(db: Database, *, id: str, owner: str | None, models: Sequence[str] | None) -> Row | None:
    """One stored completion of a key."""
    return db.maybe("stored_completions.find", id=id, owner=owner, models=models)


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
