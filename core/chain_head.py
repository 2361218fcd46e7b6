"""A file next to the store with the number and the hash of a chain's newest row.

The chain proves that no row was changed. The file proves that the newest rows were not cut off, and that the chain was
not written again from its beginning.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from core.db.decisions import LedgerHead
from core.db.store import Database, Store, Transaction
from core.durable_file import replace_content, sync
from core.errors import LedgerHeadBroken
from core.hash_chain import ChainReport

log = logging.getLogger(__name__)


def read(file: Path | None) -> LedgerHead | None:
    """The recorded head, or None if there is no file. Raises LedgerHeadBroken if the file cannot be read."""
    if file is None:
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return LedgerHead(int(found["seq"]), str(found["hash"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerHeadBroken(f"{file.name} cannot be read.") from error


def write(file: Path, head: LedgerHead) -> None:
    """Replace the recorded head. It is on the disk when this returns."""
    content = json.dumps(asdict(head)).encode()
    replace_content(file, content, scratch=file.with_name(f"{file.name}.part"))
    sync(file.parent)


@dataclass(frozen=True, slots=True)
class HeadFile:
    """The file of one chain: its name, what the chain is called, and the queries of its rows.

    `level` is that of the log message with each new head. `begins` returns the last row that was deleted by age. A
    recorded head up to there is right: after a crash the file may still have it.
    """

    name: str
    chain: str
    head: Callable[[Database], LedgerHead | None]
    hash_at: Callable[[Database, int], str | None]
    level: int = logging.INFO
    begins: Callable[[Database], LedgerHead | None] = lambda _: None

    def beside(self, store: Path | None) -> Path | None:
        """The file of a store, or None if the store is in memory."""
        return store and store.with_name(self.name)

    def record(self, transaction: Transaction, head: LedgerHead) -> None:
        """Record the head of a row that was just appended, once its transaction is committed.

        If the chain does not contain the recorded head, the file stays as it is: it is the evidence.
        """
        file = self.beside(transaction.path)
        if file is None:
            return
        try:
            fault = self.fault_of(read(file), transaction)
        except LedgerHeadBroken as error:
            fault = str(error)
        if fault:
            log.error("%s %s is not changed.", fault, self.name)
        else:
            transaction.on_commit(self.name, lambda: self._write_or_log(file, head))

    def fault_of(self, recorded: LedgerHead | None, db: Database) -> str:
        """What is wrong with a chain that must contain the recorded head; empty if nothing is."""
        if recorded is None:
            return ""
        found = self.hash_at(db, recorded.seq)
        if found is None and self._was_deleted(recorded, db):
            return ""
        if found is None:
            return f"Row {recorded.seq}, which {self.name} recorded, is missing: the newest rows were cut off."
        if found != recorded.hash:
            return f"Row {recorded.seq} is not the one that {self.name} recorded: the {self.chain} was written again."
        return ""

    def _was_deleted(self, recorded: LedgerHead, db: Database) -> bool:
        begins = self.begins(db)
        return begins is not None and (recorded.seq < begins.seq or recorded == begins)

    def verified(self, store: Store, verify: Callable[[], ChainReport]) -> ChainReport:
        """What `verify` reports, and broken if the chain does not contain the recorded head."""
        try:  # before the rows, because a row is committed before it is recorded
            recorded, fault = read(self.beside(store.path)), ""
        except LedgerHeadBroken as error:
            recorded, fault = None, str(error)
        report = verify()
        if not report.ok:
            return report
        fault = fault or self.fault_of(recorded, store)
        return replace(report, ok=False, reason=fault) if fault else report

    def begin(self, store: Store) -> None:
        """Record the head of a chain from before this file existed."""
        file, head = self.beside(store.path), self.head(store)
        if file and head and not file.exists():
            log.warning("There was no %s. It is written now: rows cut off before cannot be found.", self.name)
            write(file, head)

    def _write_or_log(self, file: Path, head: LedgerHead) -> None:
        """The row is committed already, so a full disk must not undo what follows it."""
        try:
            write(file, head)
        except OSError as error:
            log.error("%s cannot be written: %s. The chain has row %d, hash %s.", self.name, error, head.seq, head.hash)
        else:
            log.log(self.level, "%s row %d, head %s", self.chain, head.seq, head.hash)
