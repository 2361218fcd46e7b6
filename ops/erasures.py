"""Erasures: everything of one user goes, and each erasure continues after a restart until it is done.

`feedback/erasure.py` has what happens to rows, dead letters and snapshots. This module has the order of the steps, the
files of versions and runs, the ledger, and the store's file.
"""

import json
import logging
import shutil
import time
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.db import erasures, routes
from core.db.store import Row, Store
from core.durable_file import replace_content, sync
from core.errors import NotFound
from core.ledger import append
from core.records import Verdict
from core.settings import Settings
from eval.retrieval_corpus import without_prompts
from feedback import erasure
from feedback.erasure import Receipt, Request
from ops.background_work import BackgroundWork
from ops.backup.restore import ASIDE
from ops.disk_space import require_space
from ops.fine_tuning.files import UploadedFiles
from ops.retention import RunAlone
from ops.retention_files import DAMAGED
from rollout.change_writer import DecisionContext, make_decision
from rollout.promotion import RouteManager
from serve.retrieval.retriever import FILE, Retrieval, sha256_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
# A gateway that runs deletes a segment that control has after a minute.
LONGEST_WAIT_S = 150.0
SEGMENTS = "gateways/*/spool/*.seg"


class Erasures:
    """Carries out erasures, one at a time, on a thread of their own."""

    def __init__(
        self, *, store: Store, promotion: RouteManager, settings: Settings, clock: Clock, run_alone: RunAlone
    ) -> None:
        self._files = UploadedFiles(store=store, data=settings.data, clock=clock)
        self._run_alone = run_alone
        self._store = store
        self._promotion = promotion
        self._data = settings.data
        self._clock = clock
        self._background = BackgroundWork("erasures", self._work, 60 * LOOK_SECONDS)

    def start(self) -> None:
        """Continue erasures that a stopped control left, and wait for others."""
        self._background.start()

    def stop(self) -> None:
        """End after the step that is under way."""
        self._background.stop()

    def preview(self, request: Request) -> dict[str, Any]:
        """What an erasure would erase."""
        return asdict(erasure.preview(self._store, request, self._clock()))

    def begin(self, request: Request) -> dict[str, Any]:
        """Record an erasure and start it. Raises NotReady if the disk has no space to rewrite the store."""
        require_space(self._data, "An erasure")
        identity = erasure.begin(self._store, request, self._clock())
        self._background.ask()
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
        """Do what is left of every erasure. No run may work in this time, because a run reads votes and snapshots."""
        for row in erasures.pending(self._store):
            if row["state"] == "pending":
                self._erase(row)
            self._store.rewrite()

    def finish(self) -> None:
        """Wait until gateways have deleted their segments from before each erasure, and end it.

        A segment that stays, because its gateway does not run, is in the receipt. Its records are dropped on arrival.
        """
        for row in erasures.pending(self._store):
            if row["state"] == "pending":
                continue
            deadline = time.monotonic() + LONGEST_WAIT_S
            while (left := older_segments(self._data, row["time"])) and time.monotonic() < deadline:
                if self._background.stopped.wait(LOOK_SECONDS):
                    return
            receipt = replace(Receipt.read(row["receipt"]), segments=left)
            with self._store.transaction() as transaction:
                erasures.set_receipt(transaction, id=row["id"], receipt=receipt.to_json())
            erasures.finish(self._store, id=row["id"], time=self._clock())
            log.warning("the erasure %s is done", row["id"])

    def _work(self) -> bool:
        if erasures.pending(self._store) and self._alone():
            self.finish()
        return False

    def _alone(self) -> bool:
        """Carry out erasures between two runs; returns whether that was done before this control stops."""
        work = self._run_alone(self.carry_out)
        while not work.done():
            if self._background.stopped.wait(LOOK_SECONDS) and work.cancel():
                return False
        work.result()
        return True

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
        self._delete_damaged(identity, user)
        if row["key_id"] is None:  # examples of files have no key
            self._files.erase_user(user)
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

    def _delete_damaged(self, identity: str, user: str) -> None:
        """Delete damaged segments that have the name or an id of the user. Their whole records are ingested."""
        ids = erasures.ids(self._store, id=identity)
        wanted = {form.encode() for one in (user, *ids) for form in (one, json.dumps(one)[1:-1])}
        for file in self._data.glob(DAMAGED):
            content = file.read_bytes()
            if any(one in content for one in wanted):
                file.unlink()

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


def older_segments(data: Path, time: datetime) -> list[str]:
    """Segments of gateways under the data folder that began before a time. Their numbers are microseconds."""
    number = int(time.timestamp() * 1e6)
    found = (path for path in data.glob(SEGMENTS) if path.stem.isdigit() and int(path.stem) < number)
    return sorted(str(path.relative_to(data)) for path in found if path.stat().st_size)


def _replace(file: Path, content: bytes) -> None:
    replace_content(file, content)
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
