"""Entries that wait to be written together. Equal ones become one row with a count, so the log cannot fill the disk."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.audit_log import Entry

# How long an entry waits. A process that is killed loses what waits.
READS_WAIT = timedelta(seconds=5)
REFUSALS_WAIT = timedelta(minutes=1)
# Different entries of each kind that wait at a time. All others become one row per act, outcome and actor.
MOST_READS = 200
MOST_REFUSALS = 20
OTHERS = "others"


@dataclass(slots=True)
class _Kind:
    wait: timedelta
    most: int
    entries: dict[tuple[object, ...], Entry]


class Waiting:
    """Reads and refusals that wait. Not for several threads."""

    def __init__(self) -> None:
        self._reads = _Kind(READS_WAIT, MOST_READS, {})
        self._refusals = _Kind(REFUSALS_WAIT, MOST_REFUSALS, {})

    def __len__(self) -> int:
        return len(self._reads.entries) + len(self._refusals.entries)

    def add(self, entry: Entry) -> None:
        """Add an entry, or count it with an equal one. The row has the time and the request id of the first."""
        kind = self._reads if entry.outcome == "ok" else self._refusals
        known = kind.entries.get(_key(entry))
        if known is None and len(kind.entries) >= kind.most:
            entry = replace(entry, address=OTHERS, route="", model=None, thing="", status=0)
            known = kind.entries.get(_key(entry))
        kind.entries[_key(entry)] = replace(known, n=known.n + entry.n) if known else entry

    def take(self, now: datetime, *, all_of_them: bool = False) -> list[Entry]:
        """Remove and return the entries that have waited long enough, oldest first."""
        found: list[Entry] = []
        for kind in (self._reads, self._refusals):
            due = [key for key, entry in kind.entries.items() if all_of_them or now - entry.time >= kind.wait]
            found += [kind.entries.pop(key) for key in due]
        return sorted(found, key=lambda entry: entry.time)


def _key(entry: Entry) -> tuple[object, ...]:
    """All of an entry but its time, its count and its request id."""
    return (
        entry.act,
        entry.outcome,
        entry.status,
        entry.actor,
        entry.address,
        entry.route,
        entry.model,
        entry.thing,
    )
