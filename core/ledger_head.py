"""The file `ledger.head` next to the store: the number and the hash of the ledger's newest row.

The chain proves that no row was changed. This file proves that the newest rows were not cut off, and that the chain was
not written again from its beginning.
"""

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from core.db import decisions
from core.db.decisions import LedgerHead
from core.db.store import Store, Transaction
from core.errors import LedgerHeadBroken

log = logging.getLogger(__name__)
FILE = "ledger.head"


def beside(store: Path | None) -> Path | None:
    """The file of a store, or None if the store is in memory."""
    return store and store.with_name(FILE)


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
    part = file.with_name(f"{file.name}.part")
    with part.open("w", encoding="utf-8") as written:
        json.dump(asdict(head), written)
        written.flush()
        os.fsync(written.fileno())
    os.replace(part, file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def record(transaction: Transaction, head: LedgerHead) -> None:
    """Record the head of a row that was just appended, once its transaction is committed.

    If the ledger does not contain the recorded head, the file stays as it is: it is the evidence.
    """
    file = beside(transaction.path)
    if file is None:
        return
    try:
        fault = fault_of(read(file), transaction)
    except LedgerHeadBroken as error:
        fault = str(error)
    if fault:
        log.error("%s %s is not changed.", fault, FILE)
    else:
        transaction.on_commit(FILE, lambda: _write_or_log(file, head))


def _write_or_log(file: Path, head: LedgerHead) -> None:
    """The decision is committed already, so a full disk must not undo what follows it."""
    try:
        write(file, head)
    except OSError as error:
        log.error("%s cannot be written: %s. The ledger has row %d, hash %s.", FILE, error, head.seq, head.hash)
    else:
        log.info("ledger row %d, head %s", head.seq, head.hash)


def fault_of(recorded: LedgerHead | None, db: Store | Transaction) -> str:
    """What is wrong with a ledger that must contain the recorded head; empty if nothing is."""
    if recorded is None:
        return ""
    found = decisions.hash_at(db, seq=recorded.seq)
    if found is None:
        return f"Row {recorded.seq}, which {FILE} recorded, is missing: the newest rows were cut off."
    if found != recorded.hash:
        return f"Row {recorded.seq} is not the one that {FILE} recorded: the ledger was written again."
    return ""


def begin(store: Store) -> None:
    """Record the head of a ledger from before this file existed."""
    file, head = beside(store.path), decisions.head(store)
    if file and head and not file.exists():
        log.warning("There was no %s. It is written now: rows that were cut off before cannot be found.", FILE)
        write(file, head)
