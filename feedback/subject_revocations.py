"""Take back what a user said about an interaction, without the ids of the feedback, also if it arrives later."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from core.db import subject_revocations as table
from core.db.rows import RevocationRow
from core.db.store import Transaction

Meant = tuple[str, str, datetime, str]
"""The feedback's id, the key that takes it back, when, and the request in words."""


def is_of_user(row: RevocationRow) -> bool:
    """Whether a revocation names an interaction and a user instead of feedback."""
    return row.interaction_id is not None and row.user is not None


def find_meant(
    transaction: Transaction,
    revoked: Sequence[RevocationRow],
    interactions: Collection[str],
    same_name: Mapping[str, Sequence[str]],
) -> Iterator[Meant]:
    """The feedback that is taken back: by these requests, or by earlier ones on these interactions.

    Only what was said before the request is meant. While there are no requests, it reads one empty table.
    """
    asked = [row for row in revoked if is_of_user(row)]
    keys = {row.by or "": [row.key_id, *same_name.get(row.by or "", [])] if row.key_id else [""] for row in asked}
    table.add(
        transaction,
        [
            {"interaction_id": row.interaction_id, "user_id": row.user, "key_id": key, "time": row.time}
            for row in asked
            for key in dict.fromkeys(keys[row.by or ""])
        ],
    )
    if not table.has_any(transaction):
        return
    about = {*interactions, *(row.interaction_id for row in asked if row.interaction_id)}
    requests = table.of_interactions(transaction, sorted(about))
    said = table.feedback(transaction, sorted({one.interaction_id for one in requests}))
    for one in said:
        for request in requests:
            is_meant = (one.interaction_id, one.user) == (request.interaction_id, request.user)
            if is_meant and request.key in ("", one.key) and one.time <= request.time:
                yield one.id, request.key, request.time, f"feedback of a user on {one.interaction_id}"
