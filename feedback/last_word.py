"""The last word under an id: of several contents that were given under one id, the one that was given last counts.

The result does not depend on the order in which they arrive, nor on how often each arrives.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec
import orjson

from core.db.rows import FeedbackRow, utc


@dataclass(frozen=True, slots=True)
class Said:
    """One content that was given under an id, and when: the first time and the last. Times are UTC without a zone."""

    id: str
    content: str
    type: str
    value: str
    comment: str | None
    user_id: str | None
    first: datetime
    last: datetime


@dataclass(slots=True)
class Settled:
    """What the store must change: rows to add, ids to delete before, and the whole history of ids that have one."""

    add: dict[str, FeedbackRow] = field(default_factory=dict)
    replace: list[str] = field(default_factory=list)
    history: dict[str, list[Said]] = field(default_factory=dict)


def said_of(row: FeedbackRow) -> Said:
    """What a row says."""
    value = bytes(row.value).decode()
    about = (row.interaction_id, row.conversation_id, row.type, value, row.comment, row.user)
    about += () if row.choice is None else (row.choice,)
    content = hashlib.sha256(orjson.dumps((*about, bytes(row.metadata).decode()))).hexdigest()
    time = utc(row.time)
    return Said(row.id, content, row.type, value, row.comment, row.user, time, time)


def settle(
    given: Iterable[FeedbackRow], stored: Mapping[str, FeedbackRow], kept: Mapping[str, Sequence[Said]]
) -> Settled:
    """What `given` changes. `stored` has the row of each id that the store has, `kept` the history of ids with one."""
    by_id: defaultdict[str, list[FeedbackRow]] = defaultdict(list)
    for row in given:
        by_id[row.id].append(row)
    settled = Settled()
    for id, rows in by_id.items():
        old = stored.get(id)
        before = (list(kept.get(id, ())) or [said_of(old)]) if old else []
        merged = {said.content: said for said in before}
        words = {said.content: row for row in (old, *rows) if row for said in (said_of(row),)}
        for row in rows:
            said = said_of(row)
            known = merged.get(said.content, said)
            merged[said.content] = replace(known, first=min(known.first, said.first), last=max(known.last, said.last))
        if len(merged) == len(before) and set(merged.values()) == set(before):
            continue
        last = max(merged.values(), key=lambda said: (said.last, said.content))
        # Sending the same again changes nothing, so its time is the first; a changed mind has the time of the change.
        time = (last.first if len(merged) == 1 else last.last).replace(tzinfo=UTC)
        word = msgspec.structs.replace(words[last.content], time=time)
        if old is None or said_of(old) != said_of(word):
            settled.add[id] = word
            if old is not None:
                settled.replace.append(id)
        if len(merged) > 1 or last.first != last.last:
            settled.history[id] = sorted(merged.values(), key=lambda said: (said.first, said.content))
    return settled
