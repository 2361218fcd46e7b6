"""Find the examples of retrievals that must not be shown any more, because of feedback that came after they were made.

A retrieval never changes. Gateways get the places of these examples with the routing table, and skip them. An example
does not come back because retention or an erasure deleted the feedback that is against it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from core.clock import Clock
from core.db import heldout_votes, runs, snapshots, withheld_examples
from core.db.store import Store
from core.db.withheld_examples import Cause
from core.errors import IntegrityFailed
from core.records import Version
from core.settings import ModelSettings
from eval.retrieval_corpus import Origin, origins, withheld_places
from feedback.snapshot import read_rows
from serve.retrieval.retriever import Entry, read_retrieval

log = logging.getLogger(__name__)

# The queries read all flags of a model and all rows of a snapshot, so they do not run with each check of the engines.
EVERY = timedelta(seconds=15)
# No retrieval, such as one of a later release, may keep gateways from their routing table.
UNREADABLE = (IntegrityFailed, ValueError, KeyError, TypeError)

Ended = tuple[frozenset[str], frozenset[str]]
"""(interactions with a flagged answer, feedback that was revoked or is in quarantine)."""
NOTHING: Ended = (frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found of a version. `hashes` are those of its retrieval and snapshot: under both, no file changes."""

    hashes: tuple[str | None, str]
    made_of: tuple[Origin, ...]
    entries: tuple[Entry, ...]
    ended: Ended = NOTHING
    places: tuple[int, ...] = ()


class WithheldExamples:
    """The places of withheld examples by retrieval. Not safe to use from several threads at once."""

    def __init__(self, store: Store, models: Mapping[str, ModelSettings], clock: Clock) -> None:
        self.models = models
        self._store = store
        self._clock = clock
        self._checked: datetime | None = None
        self._retrievals: tuple[str, ...] = ()
        self._known: dict[str, _Known] = {}
        self._found: dict[str, tuple[int, ...]] = {}

    def find(self, versions: Sequence[Version]) -> dict[str, tuple[int, ...]]:
        """The places of the entries that must not be shown, by the hash of each of these versions that is a retrieval.

        Flags, revocations and quarantines are read every 15 s, and at once for a retrieval that is new. A retrieval
        whose snapshot cannot be read keeps what was withheld last, under a new hash too.
        """
        models = self.models  # a reload may set others during a check
        retrievals = [version for version in versions if version.kind == "retrieval" and version.model in models]
        now, names = self._clock(), tuple(sorted(str(version.sha256) for version in retrievals))
        is_due = self._checked is None or not timedelta(0) <= now - self._checked < EVERY
        if is_due or names != self._retrievals:
            found = {str(one.sha256): self._check(one, models[one.model].trust.flag_voters) for one in retrievals}
            names_now = {version.public_name for version in retrievals}
            self._known = {name: known for name, known in self._known.items() if name in names_now}
            self._checked, self._retrievals, self._found = now, names, found
        return {name: places for name, places in self._found.items() if places}

    def _check(self, version: Version, flag_voters: int) -> tuple[int, ...]:
        name = version.public_name
        run = runs.find(self._store, id=version.run_id) if version.run_id else None
        snapshot = snapshots.find(self._store, hash=run["snapshot"]) if run and run["snapshot"] else None
        if snapshot is None:
            return self._as_before(version)
        ended = self._ended(version, snapshot.hash, flag_voters)
        if ended == NOTHING:
            self._known.pop(name, None)
            return ()
        before, hashes = self._known.get(name), (version.sha256, snapshot.hash)
        is_same = before is not None and before.hashes == hashes
        if before and is_same and before.ended == ended:
            return before.places
        try:
            known = before if before and is_same else _read(version, Path(snapshot.path), hashes)
        except UNREADABLE as error:
            log.error("%s: flagged examples cannot be found: %s", name, error)
            return self._as_before(version)
        known = self._known[name] = replace(known, ended=ended, places=withheld_places(known.made_of, *ended))
        log.warning("%s: %d examples are not shown any more", name, len(known.places))
        return known.places

    def _as_before(self, version: Version) -> tuple[int, ...]:
        """The places of what this version withheld last, which may have had another content then."""
        known = self._known.get(version.public_name)
        if known is None or not known.places or known.hashes[0] == version.sha256:
            return known.places if known else ()
        withheld = {known.entries[place] for place in known.places}
        try:
            entries = read_retrieval(version).entries
        except UNREADABLE:
            return ()
        return tuple(place for place, entry in enumerate(entries) if entry in withheld)

    def _ended(self, version: Version, snapshot: str, flag_voters: int) -> Ended:
        """What of a snapshot must not be shown. Flags on answers that it does not have change nothing."""
        store, named = self._store, {"model": version.model, "version": version.version}
        flags = heldout_votes.flags(store, model=version.model, flag_voters=flag_voters)
        unsafe = snapshots.learnt_from(store, snapshot=snapshot, ids=flags.keys()) if flags else frozenset[str]()
        causes: set[Cause] = {(interaction, flag) for interaction in unsafe for flag in flags[interaction]}
        causes |= {(None, row["feedback_id"]) for row in snapshots.taken_back(store, snapshot=snapshot)}
        known = withheld_examples.of_version(store, **named)
        deleted = withheld_examples.deleted(store, known - causes)
        new, over = (
            causes - known,
            known - causes - deleted,
        )  # a flag that was taken back, a quarantine that was released
        if new or over:
            with store.transaction() as transaction:
                withheld_examples.add(transaction, **named, causes=new, since=self._clock())
                withheld_examples.remove(transaction, **named, causes=over)
        causes |= deleted
        flagged = frozenset(interaction for interaction, _ in causes if interaction is not None)
        return flagged, frozenset(feedback for interaction, feedback in causes if interaction is None)


def _read(version: Version, snapshot: Path, hashes: tuple[str | None, str]) -> _Known:
    retrieval = read_retrieval(version)
    rows = [row for row in read_rows(snapshot) if row.bucket == "train"]
    return _Known(hashes, origins(retrieval, rows), retrieval.entries)
