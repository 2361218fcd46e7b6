"""Import interactions and feedback that were stored elsewhere, with their original times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.clock import Clock
from core.db import feedback, interactions
from core.db.store import Store
from core.errors import RowRefused
from core.record_codec import Record
from core.records import Revocation
from feedback.imported_rows import parse_record
from feedback.ingest import insert


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of records: how many were new by kind, how many were known by their id, and which were refused.

    A refused record is its place in the list and the reason.
    """

    interactions: int
    feedback: int
    known: int
    refused: list[tuple[int, str]]


def import_records(store: Store, entries: list[Any], clock: Clock) -> dict[str, int]:
    """Takes rows in, all or none; returns how many were new, and how many were known by their id already."""
    records = [record for entry in entries for record in parse_record(entry, clock)]
    with store.transaction() as transaction:
        before = feedback.total(transaction)
        insert(transaction, records)
        added = feedback.total(transaction) - before
    return {"added": added, "known": len(entries) - added}


def take(store: Store, records: Sequence[Record]) -> Imported:
    """Adds interactions with their feedback. A record that the store refuses does not cost the others."""
    return _take(store, records, 0)


def _take(store: Store, records: Sequence[Record], first: int) -> Imported:
    try:
        with store.transaction() as transaction:
            before = interactions.total(transaction), feedback.total(transaction)
            insert(transaction, records)
            asked = interactions.total(transaction) - before[0]
            said = feedback.total(transaction) - before[1]
    except RowRefused as error:
        if len(records) == 1:
            return Imported(0, 0, 0, [(first, error.message)])
        middle = len(records) // 2  # halves of halves find the one at fault
        one, two = _take(store, records[:middle], first), _take(store, records[middle:], first + middle)
        return Imported(
            one.interactions + two.interactions,
            one.feedback + two.feedback,
            one.known + two.known,
            one.refused + two.refused,
        )
    given = sum(not isinstance(record, Revocation) for record in records)
    return Imported(asked, said, given - asked - said, [])
