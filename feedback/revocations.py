"""Take back feedback by its id, by its user, or because its key may not use the model."""

from collections.abc import Collection, Sequence
from datetime import datetime

from core.db import feedback
from core.db.rows import RevocationRow
from core.db.store import Transaction
from feedback.schema import kept_id, own_id
from feedback.subject_revocations import find_meant, is_of_user


def leave_out(transaction: Transaction, said: Sequence[str]) -> None:
    """Take back feedback on a model that its key may not use. A gateway cannot know the model of an interaction."""
    found = feedback.outside_of_key(transaction, said)
    asked = [f"{row['key_id']} may not use the model of {row['feedback_id']}" for row in found]
    feedback.add_revocations(transaction, [row | {"asked": text} for row, text in zip(found, asked, strict=True)])


def revoke(
    transaction: Transaction,
    revoked: Sequence[RevocationRow],
    said: Sequence[str],
    changed: Sequence[str],
    about: Collection[str],
) -> None:
    """Revoke feedback, even if the revocation arrived before it. `changed` are ids that were said again.

    `about` are interactions whose feedback, or who themselves, are new.
    """
    same_name = feedback.keys_of_one_name(transaction, list({row.by for row in revoked if row.by}))
    found: dict[tuple[str, str, datetime], str] = {}
    for id, key, time, asked in find_meant(transaction, revoked, about, same_name):
        found.setdefault((id, key, time), asked)
    for row in revoked:
        if is_of_user(row):
            continue
        for id, key in _meant(row, same_name.get(row.by or "", [])):
            # A gateway of an earlier release sent both ids that a request may mean.
            asked = f"{row.by} {row.feedback_id}" if row.by else own_id(row.key_id, row.feedback_id)
            found.setdefault((id, key, row.time), asked)
    feedback.add_revocations(
        transaction, [{"feedback_id": i, "key_id": k, "time": t, "asked": asked} for (i, k, t), asked in found.items()]
    )
    feedback.apply_revocations(transaction, ids=list({*said, *(id for id, _, _ in found)}), changed=changed)


def _meant(row: RevocationRow, same_name: Sequence[str]) -> list[tuple[str, str]]:
    """(id, key) of the feedback that a revocation may mean: the id as it is, or one that a key of the app chose."""
    if row.by is None:
        return [(row.feedback_id, row.key_id or "")]
    keys = list(dict.fromkeys([row.by, *same_name]))
    named = [(row.feedback_id, key) for key in keys] if row.key_id else [(row.feedback_id, "")]
    return [*named, *((kept_id(key, row.feedback_id), key) for key in keys)]
