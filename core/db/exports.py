"""Everything of one kind, for exports."""

from collections.abc import Iterator

from core.db.store import Row, Store


def feedback(store: Store, size: int, *, model: str | None, key: str | None) -> Iterator[list[Row]]:
    """Feedback for an export, oldest first."""
    return store.batches("exports.feedback", size, model=model, key=key)


def interactions(store: Store, size: int, *, model: str | None) -> Iterator[list[Row]]:
    """Interactions for an export, in no order."""
    return store.batches("exports.interactions", size, model=model)


def decisions(store: Store, size: int, *, model: str | None) -> Iterator[list[Row]]:
    """Decisions for an export, oldest first."""
    return store.batches("exports.decisions", size, model=model)
