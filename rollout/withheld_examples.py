"""Find the examples of retrievals that must not be shown any more, because of feedback that came after they were made.

A retrieval never changes. Gateways get the places of these examples with the routing table, and skip them.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from core.clock import Clock
from core.db import heldout_votes, runs, snapshots
from core.db.store import Store
from core.errors import IntegrityFailed
from core.records import Version
from core.settings import ModelSettings
from eval.retrieval_corpus import withheld_places
from feedback.snapshot import read_rows
from serve.retrieval.retriever import read_retrieval

log = logging.getLogger(__name__)

# The queries read all flags of a model and all rows of a snapshot, so they do not run with each check of the engines.
EVERY = timedelta(seconds=15)

Ended = tuple[frozenset[str], frozenset[str]]
"""(interactions with a flagged answer, feedback that was revoked or is in quarantine)."""


class WithheldExamples:
    """The places of withheld examples by retrieval. Not safe to use from several threads at once."""

    def __init__(self, store: Store, models: Mapping[str, ModelSettings], clock: Clock) -> None:
        self.models = models
        self._store = store
        self._clock = clock
        self._checked: datetime | None = None
        self._retrievals: tuple[str, ...] = ()
        self._known: dict[str, tuple[Ended, tuple[int, ...]]] = {}

    def find(self, versions: Sequence[Version]) -> dict[str, tuple[int, ...]]:
        """The places of the entries that must not be shown, by the hash of each of these versions that is a retrieval.

        Flags, revocations and quarantines are read every 15 s, and at once for a retrieval that is new. A retrieval
        whose snapshot cannot be read keeps the places that were found last.
        """
        models = self.models
        retrievals = (version for version in versions if version.kind == "retrieval" and version.model in models)
        found = {str(version.sha256): version for version in retrievals}
        now, names = self._clock(), tuple(sorted(found))
        is_due = self._checked is None or not timedelta(0) <= now - self._checked < EVERY
        if is_due or names != self._retrievals:
            self._checked, self._retrievals = now, names
            self._known = {name: self._check(name, version) for name, version in found.items()}
        return {name: places for name, (_, places) in self._known.items() if places}

    def _check(self, name: str, version: Version) -> tuple[Ended, tuple[int, ...]]:
        nothing: Ended = (frozenset(), frozenset())
        before = self._known.get(name, (nothing, ()))
        run = runs.find(self._store, id=version.run_id) if version.run_id else None
        snapshot = snapshots.find(self._store, hash=run["snapshot"]) if run and run["snapshot"] else None
        if snapshot is None:
            return before
        ended = self._ended(version.model, snapshot.hash)
        if ended == before[0]:
            return before
        try:
            rows = [row for row in read_rows(Path(snapshot.path)) if row.bucket == "train"]
            places = withheld_places(read_retrieval(version), rows, *ended)
        except (IntegrityFailed, ValueError, KeyError, TypeError) as error:
            # No retrieval, such as one of a later release, may keep gateways from their routing table.
            log.error("%s: flagged examples cannot be found: %s", version.public_name, error)
            return before
        log.warning("%s: %d examples are not shown any more", version.public_name, len(places))
        return ended, places

    def _ended(self, model: str, snapshot: str) -> Ended:
        """What of a snapshot must not be shown. Flags on answers that it does not have change nothing."""
        flagged = heldout_votes.flagged(self._store, model=model, flag_voters=self.models[model].trust.flag_voters)
        unsafe = snapshots.learnt_from(self._store, snapshot=snapshot, ids=flagged) if flagged else frozenset[str]()
        taken_back = snapshots.taken_back(self._store, snapshot=snapshot)
        return unsafe, frozenset(row["feedback_id"] for row in taken_back)
