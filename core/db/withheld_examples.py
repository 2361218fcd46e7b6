"""Why examples of a retrieval are withheld. The reasons stay when retention or an erasure deletes the feedback."""

from collections.abc import Collection
from datetime import datetime

from core.db.store import Database, Transaction

Cause = tuple[str | None, str]
"""(interaction, flag on its answer), or (None, vote that was taken back or is in quarantine)."""


def of_version(db: Database, *, model: str, version: int) -> frozenset[Cause]:
    """Every cause that was recorded for a version. An erased flag has the id ''."""
    rows = db.rows("withheld_examples.of_version", model=model, version=version)
    return frozenset((row["interaction_id"], row["feedback_id"]) for row in rows)


def add(transaction: Transaction, *, model: str, version: int, causes: Collection[Cause], since: datetime) -> None:
    """Record causes that are new."""
    rows = [
        {"model": model, "version": version, "interaction_id": interaction, "feedback_id": feedback, "since": since}
        for interaction, feedback in sorted(causes, key=lambda one: (one[0] or "", one[1]))
    ]
    transaction.run_set("withheld_examples.add", rows)


def remove(transaction: Transaction, *, model: str, version: int, causes: Collection[Cause]) -> None:
    """Forget causes that ended, so that they do not count again when their feedback is deleted later."""
    for interaction, feedback in causes:
        transaction.run(
            "withheld_examples.remove", model=model, version=version, interaction=interaction, feedback=feedback
        )


def deleted(db: Database, causes: Collection[Cause]) -> frozenset[Cause]:
    """Those of these causes whose feedback does not exist any more."""
    ids = sorted({feedback for _, feedback in causes})
    stored = {row["id"] for row in db.rows_in("withheld_examples.stored", ids)}
    return frozenset(one for one in causes if one[1] not in stored)
