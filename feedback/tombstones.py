"""Tombstones: records of an erased user that were made before the erasure and arrive after it are dropped."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from core.db import erasures
from core.db.erasures import Tombstone
from core.db.rows import FeedbackRow, InteractionRow, RevocationRow, SpoolRow, StoredCompletionRow
from core.db.store import Transaction


def hash_of(user: str) -> str:
    """The hash by which an erased user is known. The ledger and the store have it instead of the name."""
    return hashlib.sha256(f"erased user\n{user}".encode()).hexdigest()


def without_erased(transaction: Transaction, rows: Sequence[SpoolRow]) -> list[SpoolRow] | None:
    """The rows without those of erased users, or None if all of them stay.

    Feedback without a user is by the user of its answer. A stored completion belongs to its interaction.
    """
    stones = erasures.tombstones(transaction)
    if not stones:
        return None
    is_erased = _matcher(stones)
    ids = {row.id for row in rows if isinstance(row, StoredCompletionRow)}
    ids |= {row.interaction_id for row in rows if isinstance(row, FeedbackRow) and row.interaction_id}
    before = erasures.erased(transaction, sorted(ids))
    gone = {row.id for row in rows if isinstance(row, InteractionRow) and is_erased(row.user, row.key_id, row.time)}

    def stays(row: SpoolRow) -> bool:
        match row:
            case InteractionRow():
                return row.id not in gone
            case StoredCompletionRow():
                return row.id not in gone and row.id not in before
            case FeedbackRow():
                about = row.interaction_id or ""
                unnamed = row.user is None and (about in gone or (about in before and row.time < before[about]))
                return not unnamed and not is_erased(row.user, row.key_id, row.time)
            case RevocationRow() if row.user is not None:
                return not is_erased(row.user, row.by, row.time)
            case _:
                return True

    by_user: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        if isinstance(row, InteractionRow) and row.user is not None and row.id in gone:
            by_user[row.user].append(row.id)
    for user, late in by_user.items():
        erasures.add_late(transaction, user_hash=hash_of(user), ids=late)
    kept = [row for row in rows if stays(row)]
    return kept if len(kept) < len(rows) else None


def _matcher(stones: Sequence[Tombstone]) -> Callable[[str | None, str | None, datetime], bool]:
    """Whether a record of a user, with its key and its time, is one that was erased."""
    times = {(stone.user_hash, stone.key_id): stone.time for stone in stones}
    hashes: dict[str, str] = {}
    never = datetime.min.replace(tzinfo=UTC)

    def is_erased(user: str | None, key: str | None, time: datetime) -> bool:
        if user is None:
            return False
        known = hashes.get(user) or hashes.setdefault(user, hash_of(user))
        return time < max(times.get((known, None), never), times.get((known, key), never))

    return is_erased
