"""Erasures: everything of one user goes, and each erasure continues after a restart until it is done.

`feedback/erasure.py` has what happens to rows, dead letters and snapshots. This module has the order of the steps, the
files of versions and runs, the ledger, and the store's file.
"""

import logging
import os
import shutil
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.db import erasures, routes, runs
from core.db.file import sync
from core.db.store import Row, Store
from core.errors import NotFound
from core.ledger import append
from core.records import Verdict
from core.settings import Settings
from eval.retrieval_corpus import without_prompts
from feedback import erasure
from feedback.erasure import Receipt, Request
from ops.backup.restore import ASIDE
from ops.disk_space import require_space
from rollout.change_writer import DecisionContext, make_decision
from rollout.promotion import RouteManager
from serve.retrieval.retriever import FILE, Retrieval, sha256_of

log = logging.getLogger(__name__)

# Runs in these states read no snapshot.
WAITING = ("canary", "awaiting_approval")
LOOK_SECONDS = 1.0


class Erasures:
    """Carries out erasures, one at a time, on a thread of their own."""

    def __init__(self, *, store: Store, promotion: RouteManager, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._promotion = promotion
        self._data = settings.data
        self._clock = clock
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="erasures", daemon=True)

    def start(self) -> None:
        """Continue erasures that a stopped control left, and wait for others."""
        self._wanted.set()
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is under way."""
        self._stopped.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    def preview(self, request: Request) -> dict[str, Any]:
        """What an erasure would erase."""
        return asdict(erasure.preview(self._store, request, self._clock()))

    def begin(self, request: Request) -> dict[str, Any]:
        """Record an erasure and start it. Raises NotReady if the disk has no space to rewrite the store."""
        require_space(self._data, "An erasure")
        identity = erasure.begin(self._store, request, self._clock())
        self._wanted.set()
        return self.show(identity)

    def show(self, identity: str) -> dict[str, Any]:
        """One erasure with its receipt. Raises NotFound."""
        row = erasures.find(self._store, id=identity)
        if row is None:
            raise NotFound("erasure", identity, hint="See: GET /api/erasures")
        return shown(row)

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Erasures with their receipts, newest first."""
        return [shown(row) for row in erasures.newest(self._store, limit=limit)]

    def carry_out(self) -> None:
        """Do what is left of every erasure. A run that reads a snapshot ends first."""
        for row in erasures.pending(self._store):
            while any(run["state"] not in WAITING for run in runs.unfinished(self._store)):
                if self._stopped.wait(LOOK_SECONDS):
                    return
            if row["state"] == "pending":
                self._erase(row)
            self._store.rewrite()
            erasures.finish(self._store, id=row["id"], time=self._clock())
            log.warning("the erasure %s is done", row["id"])

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wanted.wait()
            self._wanted.clear()
            try:
                self.carry_out()
            except Exception:
                log.exception("an erasure broke off; it is tried again")
                if not self._stopped.wait(60 * LOOK_SECONDS):
                    self._wanted.set()

    def _erase(self, row: Row) -> None:
        identity, user = row["id"], row["user_id"]
        erasure.erase_rows(self._store, identity, user, row["key_id"], row["time"])
        receipt = Receipt.read(row["receipt"])
        if self._rewrite_retrievals(identity, receipt):
            self._promotion.publish()
        snapshots = erasure.rewrite_snapshots(self._store, identity, self._data / "snapshots")
        for run in receipt.runs:
            shutil.rmtree(self._data / "runs" / run, ignore_errors=True)
        for folder in self._data.glob(f"{ASIDE}*"):
            shutil.rmtree(folder)
        with self._store.transaction() as transaction:
            for model in receipt.models:
                context = DecisionContext(
                    reason_of(receipt),
                    "erasure",
                    row["actor"],
                    row["comment"],
                    live={
                        "erasure": identity,
                        "user_sha256": receipt.user_hash,
                        "snapshots": snapshots,
                        "versions": receipt.versions,
                        "holdouts": receipt.holdouts,
                    },
                )
                row_of_route = routes.current(transaction, model=model)
                champion = row_of_route["champion"] if row_of_route else 0
                append(transaction, make_decision(model, champion, None, Verdict.ERASED, context, self._clock()))
            erasures.forget_user(transaction, id=identity)

    def _rewrite_retrievals(self, identity: str, receipt: Receipt) -> bool:
        """Take the user's examples out of retrievals; returns whether there were any."""
        with self._store.transaction() as transaction:
            names = list(receipt.snapshots)
            ids = erasures.ids(transaction, id=identity)
            folders = {row["hash"]: Path(row["path"]) for row in erasures.snapshots_of(transaction, names)}
            found = [row for row in erasures.versions_of(transaction, names) if row["kind"] == "retrieval"]
        changed = False
        for row in found:
            file = Path(row["path"]) / FILE
            prompts = erasure.erased_prompts(folders[row["snapshot"]], ids)
            if file.is_file() and prompts:
                content = without_prompts(Retrieval.from_bytes(file.read_bytes()), prompts).to_bytes()
                _replace(file, content)
                with self._store.transaction() as transaction:
                    erasures.replace_retrieval(
                        transaction, model=row["model"], version=row["version"], sha256=sha256_of(content)
                    )
                changed = True
        return changed


def _replace(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    part.write_bytes(content)
    sync(part)
    os.replace(part, file)
    sync(file.parent)


def reason_of(receipt: Receipt) -> str:
    """What an erasure did, in one sentence of the ledger."""
    counts = receipt.counts
    return (
        f"A user was erased (hash {receipt.user_hash[:16]}): {counts['interactions']} interactions, "
        f"{counts['feedback']} rows of feedback, {counts['snapshot_rows']} rows of {len(receipt.snapshots)} snapshots."
    )


def shown(row: Row) -> dict[str, Any]:
    """An erasure as people see it, without the name that it has while it is pending."""
    hidden = ("user_id", "receipt", "user_hash", "key_id")
    return {name: value for name, value in row.items() if name not in hidden} | asdict(Receipt.read(row["receipt"]))
