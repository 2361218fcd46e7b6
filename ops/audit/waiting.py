"""Entries that wait to be written together. Equal ones become one row with a count, so the log cannot fill the disk."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from core.acts import Act
from core.audit_log import Entry

# How long an entry waits. A process that is killed loses what waits.
READS_WAIT = timedelta(seconds=5)
REFUSALS_WAIT = timedelta(minutes=1)
# Different entries that each actor gets rows for within a minute. All others of the actor become one row per act and
# outcome. Without a key all share one budget, and all others become one row per outcome.
MINUTE = timedelta(minutes=1)
MOST_READS = 60
MOST_REFUSALS = 20
OTHERS = "others"


@dataclass(slots=True)
class _Kind:
    wait: timedelta
    most: int
    entries: dict[tuple[object, ...], Entry] = field(default_factory=dict)
    # How many rows each actor has begun since the minute began.
    begun: Counter[str] = field(default_factory=Counter)
    minute: datetime | None = None

    def has_space(self, entry: Entry) -> bool:
        """Whether the actor may begin one more row in this minute; it is counted."""
        if self.minute is None or abs(entry.time - self.minute) >= MINUTE:  # also after the clock was set back
            self.minute = entry.time
            self.begun.clear()
        self.begun[entry.actor] += 1
        return self.begun[entry.actor] <= self.most


class Waiting:
    """Entries that wait: reads and log-ins, and refusals. Not for several threads."""

    def __init__(self) -> None:
        self._reads = _Kind(READS_WAIT, MOST_READS)
        self._refusals = _Kind(REFUSALS_WAIT, MOST_REFUSALS)

    def __len__(self) -> int:
        return len(self._reads.entries) + len(self._refusals.entries)

    def add(self, entry: Entry) -> None:
        """Add an entry, or count it with an equal one. The row has the time and the request id of the first."""
        kind = self._reads if entry.outcome == "ok" else self._refusals
        known = kind.entries.get(_key(entry))
        if known is None and not kind.has_space(entry):
            entry = _other(entry)
            known = kind.entries.get(_key(entry))
        if known is None:
            kind.entries[_key(entry)] = entry
            return
        # Refusals of one address without a key are one row for all routes.
        route = known.route if known.route == entry.route else ""
        kind.entries[_key(entry)] = replace(known, n=known.n + entry.n, route=route)

    def take(self, now: datetime, *, all_of_them: bool = False) -> list[Entry]:
        """Remove and return the entries that have waited long enough, oldest first."""
        found: list[Entry] = []
        for kind in (self._reads, self._refusals):
            due = [key for key, entry in kind.entries.items() if all_of_them or now - entry.time >= kind.wait]
            found += [kind.entries.pop(key) for key in due]
        return sorted(found, key=lambda entry: entry.time)


def _other(entry: Entry) -> Entry:
    """An entry for which its actor has no row left, without what makes it different from others."""
    act = entry.act if entry.actor else Act.ACCESS
    return replace(entry, act=act, address=OTHERS, route="", model=None, thing="", status=0)


def _key(entry: Entry) -> tuple[object, ...]:
    """What makes entries equal: all but time, count and request id; without an actor, act, status and address alone."""
    key = (entry.act, entry.outcome, entry.status, entry.actor, entry.address)
    return (*key, entry.route, entry.model, entry.thing) if entry.actor else key
